"""The quality score of a release: measured against public people, and never against patients."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medvae import api
from medvae.api import anatomy_choice, baselines, models, quality
from medvae.progress import SILENT
from medvae.release import ReleaseFacts
from medvae.release.scores import scores
from medvae.volume import Volume
from tests.anatomy.cohorts import add_people
from tests.cli.conftest import QUICK, Clinic
from tests.cli.test_library import FEW, SCHEME, _patients

CREATE = ("release", "create", "first", "-n", 4, "--seed", 3)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A tenant whose model draws the people of an entry."""
    made = Clinic(tmp_path_factory.mktemp("quality"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    add_people(made.root / "vault", made.root / "public")
    folder = _patients(made.root / "hospital")
    made(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "hearts"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    made("train", "-c", QUICK, "-d", "hearts", "--name", "first", *FEW)
    return made


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    score = json.loads((folder / "card.json").read_text())["scores"]["quality"]
    return {row["figure"]: row for row in score["rows"]}


def test_a_release_is_measured_against_the_public_people_of_its_model(
    hospital: Clinic, tmp_path: Path
) -> None:
    done = hospital(*CREATE, "-o", tmp_path / "out").json
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    score = card["scores"]["quality"]
    privacy = card["scores"]["privacy"]["value"]
    assert done["scores"] == {"privacy": privacy, "quality": score["value"]}
    assert 0 < score["value"] <= 10
    assert "3 public people (anatomy entry people), not against" in score["meaning"]
    rows = _rows(tmp_path / "out")
    assert set(rows) == {"fit of labels and images", "shape of labels", "look of images"}
    least = min(float(row["part"]) for row in rows.values())
    # The row has two decimals.
    assert score["value"] == pytest.approx(10 * least, abs=0.151)
    for row in rows.values():
        assert "-" not in (row["this release"], row["public people"], row["no patient"])
    for name in ("report.html", "CARD.md"):
        text = (tmp_path / "out" / name).read_text()
        assert f"{score['value']:.1f}" in text
        assert "look of images" in text
        assert "quality: **not measured" not in text


def _measured(session: api.Session, volumes: list[Volume], facts: ReleaseFacts) -> dict[str, float]:
    """Each part of the score of these volumes, and the score itself."""
    artifact = models.load(session.tenant, "first")
    meter = quality.meter(session.tenant, artifact, facts.data)
    for volume in volumes:
        meter.look(volume)
    found = meter.quality()
    parts = {part.name: part.score for part in found.parts}
    return {**parts, "score": scores({}, found)["quality"]["value"]}


def test_a_broken_release_scores_worse(hospital: Clinic) -> None:
    """What is broken is drawn of public people alone: a model's noise differs in every run."""
    session = api.open(hospital.root / "vault", "clinic", identity=hospital.root / "key")
    artifact = models.load(session.tenant, "first")
    facts = ReleaseFacts.from_model(artifact.facts, n=4, seed=3)
    anatomy = anatomy_choice.of_model(session.tenant, artifact)
    good = list(baselines.drawn_people(anatomy, 4, SILENT))
    random = np.random.default_rng(0)
    noise = [replace(v, voxels=random.integers(0, 1000, v.shape, np.int16)) for v in good]
    exchanged = [replace(v, mask=good[i - 1].mask) for i, v in enumerate(good)]
    scattered = [replace(v, mask=random.permuted(v.mask)) for v in good]
    whole = _measured(session, good, facts)
    assert whole["fit of labels and images"] > 0.9
    assert whole["shape of labels"] > 0.7
    noisy = _measured(session, noise, facts)
    assert noisy["look of images"] < whole["look of images"] / 3
    assert noisy["fit of labels and images"] < 0.7
    assert noisy["score"] < whole["score"]
    others = _measured(session, exchanged, facts)
    assert others["fit of labels and images"] < 0.5
    assert others["score"] < whole["score"]
    assert _measured(session, scattered, facts)["shape of labels"] < 0.4


def test_it_can_be_left_out_and_another_entry_named(hospital: Clinic, tmp_path: Path) -> None:
    left = hospital(*CREATE, "-o", tmp_path / "left", "--reference", "none").json
    assert left["scores"]["quality"] is None
    assert "--reference none" in (tmp_path / "left" / "CARD.md").read_text()
    missing = hospital(*CREATE, "-o", tmp_path / "missing", "--reference", "strangers", ok=False)
    assert missing.code == 7
    assert not (tmp_path / "missing").exists()
    add_people(hospital.root / "vault", hospital.root / "others", count=2, name="others")
    hospital(*CREATE, "-o", tmp_path / "others", "--reference", "others")
    rows = _rows(tmp_path / "others")
    assert set(rows) == {"fit of labels and images", "shape of labels"}, "two people are too few"
    # Only the entry that a model draws from says what is drawn without a patient.
    assert {row["no patient"] for row in rows.values()} == {"-"}
    text = (tmp_path / "others" / "CARD.md").read_text()
    assert "How images look was not measured" in text


def test_two_runs_give_the_same_release(hospital: Clinic, tmp_path: Path) -> None:
    ids = {hospital(*CREATE, "-o", tmp_path / name).json["id"] for name in ("one", "two")}
    assert len(ids) == 1


def test_without_public_people_there_is_no_score(journey: Clinic, tmp_path: Path) -> None:
    done = journey("release", "create", "first", "-n", 2, "-o", tmp_path / "out").json
    assert done["scores"]["quality"] is None
    assert "no entry of the public library covers the labels" in (
        (tmp_path / "out" / "CARD.md").read_text()
    )


def test_an_ingested_person_is_nobody_to_measure_against(hospital: Clinic, tmp_path: Path) -> None:
    """Last in the file: the tenant holds the person from now on."""
    folder = shutil.copytree(hospital.root / "public", tmp_path / "late")
    hospital(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "late"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    refused = hospital(*CREATE, "-o", tmp_path / "out", ok=False)
    assert refused.code == 2
    assert "ingested patient" in refused.err
    assert not (tmp_path / "out").exists()
    hospital(*CREATE, "-o", tmp_path / "out", "--reference", "none")
