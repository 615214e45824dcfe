"""Scans without masks and without a library, from plan to signed release, at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.anatomy.cohorts import SPACING, picture
from tests.anatomy.conftest import person, write
from tests.cli.conftest import QUICK, Clinic

GRID = ("--set", "data.size=[24, 24, 16]", "--set", "data.spacing=[6, 6, 9]")
FEW = ("--set", "atlas.samples=2", "--set", "atlas.steps=1")
NAMED = (*GRID, *FEW, "--set", "anatomy.library=patients")
PATIENTS = 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A tenant with eight patients without masks, and a model of their automatic tissues."""
    made = Clinic(tmp_path_factory.mktemp("tissues"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    for seed in range(PATIENTS):
        labels, affine = person(70 + seed, SPACING)
        write(made.root / "hospital" / f"s{seed}.nii.gz", picture(labels, seed), affine)
    made(
        *("ingest", made.root / "hospital", "-d", "hearts", "--modality", "mri"),
        "--files-are-patients",
    )
    made("train", "-c", QUICK, "-d", "hearts", "--name", "own", *NAMED)
    return made


def test_the_plan_says_where_shapes_come_from_and_what_to_expect(trained: Clinic) -> None:
    planned = trained("plan", "-c", QUICK, "-d", "hearts", *NAMED).json
    assert (planned["anatomy"], planned["shape_source"]) == ("patients", "automatic tissues")
    names = [one["name"].removesuffix(".centre") for one in planned["stages"]]
    wanted = [f"anatomy-{step}" for step in ("coarse", "fine", "means", "spreads")]
    assert list(dict.fromkeys(names)) == wanted
    assert "automatic tissues" in planned["expected"]["cohort"]
    assert trained("plan", "-c", QUICK, "-d", "hearts", *GRID).json["anatomy"] == "patients"
    none = ("--set", "anatomy.library=none")
    assert trained("plan", "-c", QUICK, "-d", "hearts", *GRID, *none).json["shape_source"] is None


def test_volumes_are_drawn_without_masks(trained: Clinic, tmp_path: Path) -> None:
    drawn = trained("generate", "own", "-n", 2, "--seed", 4, "-o", tmp_path / "one").json
    assert not any("_dseg" in name for name in drawn["files"])
    image = nib.load(tmp_path / "one" / Path(drawn["files"][0]).name)
    assert image.shape == (24, 24, 16)
    assert np.asarray(image.dataobj).std() > 0
    again = trained("generate", "own", "-n", 2, "--seed", 4, "-o", tmp_path / "again").json
    for one, other in zip(drawn["files"], again["files"], strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_the_card_of_a_release_says_that_no_organ_is_known(trained: Clinic, tmp_path: Path) -> None:
    assert trained("release", "create", "own", "-n", 2, "-o", tmp_path / "out").json["passed"]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert any("automatic tissues" in limit for limit in card["known_limits"])
    assert not any("Labelled organs" in limit for limit in card["known_limits"])


def test_an_audit_attacks_the_released_maps(trained: Clinic) -> None:
    words = json.dumps(trained("audit", "own", "--against", "hearts", "-n", 4).json)
    assert "anatomy-coarse" in words
    assert "anatomy-fine" in words
