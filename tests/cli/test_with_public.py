"""Releases that hold the public labelled images beside the synthetic volumes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import medvae
from medvae.grid import crop_or_pad
from tests.anatomy.cohorts import add_people
from tests.cli.conftest import QUICK, Clinic
from tests.cli.test_library import FEW, SCHEME, _patients
from tests.release.test_bids import VALIDATOR, validate
from tests.release.test_nnunet import check_rules

WORDS = ("release", "create", "first", "-n", 2, "--seed", 3, "--with-public")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A tenant whose model draws the people of an entry that may be passed on."""
    made = Clinic(tmp_path_factory.mktemp("with-public"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    add_people(made.root / "vault", made.root / "public", licence="cc by 4.0")
    folder = _patients(made.root / "hospital")
    made(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "hearts"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    made("train", "-c", QUICK, "-d", "hearts", "--name", "first", *FEW)
    return made


@pytest.fixture(scope="module")
def mixed(hospital: Clinic) -> Path:
    out = hospital.root / "mixed"
    done = hospital(*WORDS, "--license", "CC0-1.0", "-o", out).json
    assert (done["n"], done["volumes"], done["public"], done["passed"]) == (2, 2, 3, True)
    return out


def rows(folder: Path) -> list[dict[str, str]]:
    text = (folder / "participants.tsv").read_text()
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def load(path: Path) -> Any:
    return nib.load(path)


def test_public_images_are_marked_and_counted_apart(hospital: Clinic, mixed: Path) -> None:
    found = rows(mixed)
    assert [row["participant_id"] for row in found] == [
        *("sub-synth0001", "sub-synth0002"),
        *("sub-public0001", "sub-public0002", "sub-public0003"),
    ]
    assert [row["synthetic"] for row in found] == ["yes"] * 2 + ["no"] * 3
    assert [row["origin"] for row in found] == ["synthetic"] * 2 + ["public"] * 3
    assert {(row["source"], row["licence"]) for row in found[:2]} == {("n/a", "CC0-1.0")}
    assert {(row["source"], row["licence"]) for row in found[2:]} == {("made up", "CC-BY-4.0")}
    described = json.loads((mixed / "participants.json").read_text())
    assert set(described) == set(found[0])

    card = json.loads((mixed / "card.json").read_text())
    assert (card["data"]["volumes"], card["data"]["label_maps"]) == (2, 2)
    images = card["data"]["public_images"]
    assert (images["count"], images["entry"], images["licence"]) == (3, "people", "CC-BY-4.0")
    assert any("3 images are not synthetic" in one for one in card["known_limits"])
    assert any(one["name"] == "public people" for one in card["gate"]["checks"])
    croissant = json.loads((mixed / "croissant.json").read_text())
    assert croissant["license"] == ["CC0-1.0", "CC-BY-4.0"]
    sets = {one["@id"]: one.get("includes") for one in croissant["distribution"]}
    counted = {name: len(list(mixed.glob(glob))) for name, glob in sets.items() if glob}
    assert counted == {"images": 2, "labels": 2, "public-images": 3, "public-labels": 3}
    assert "license:\n- cc0-1.0\n- cc-by-4.0\n" in (mixed / "README.md").read_text()
    for name in ("README.md", "CARD.md", "report.html", "LICENSE"):
        text = (mixed / name).read_text()
        assert "made up" in text, name
        assert "No person was scanned" not in text, name
    (listed,) = hospital("release", "list").json["releases"]
    assert (listed["volumes"], listed["public"]) == (2, 3)


def test_they_are_the_entrys_images_on_the_grid_of_the_synthetic_ones(
    hospital: Clinic, mixed: Path
) -> None:
    drawn = load(mixed / "sub-synth0001/anat/sub-synth0001_T1w.nii.gz")
    for number in range(3):
        name = f"sub-public{number + 1:04d}"
        image = load(mixed / name / "anat" / f"{name}_T1w.nii.gz")
        assert image.shape == drawn.shape
        np.testing.assert_allclose(image.affine, drawn.affine, atol=1e-4)
        assert bytes(image.header["descrip"].tobytes()).startswith(b"public image")
        sidecar = json.loads((mixed / name / "anat" / f"{name}_T1w.json").read_text())
        assert sidecar["Synthetic"] is False
        labels = load(mixed / f"derivatives/labels/{name}/anat/{name}_dseg.nii.gz")
        assert labels.shape == image.shape
        # The voxels have the size of the source's, so that only the frame differs.
        source = hospital.root / "public"
        mask = load(source / "labels" / f"p{number}.nii.gz").get_fdata()
        was = load(source / "images" / f"p{number}.nii.gz").get_fdata()
        framed = crop_or_pad(mask, drawn.shape, "constant")
        np.testing.assert_array_equal(labels.get_fdata(), framed)
        before = crop_or_pad(was, drawn.shape, "edge")
        low, high = np.percentile(was, [1, 99])
        linear = (before > low) & (before < high)
        # Grey values are linear in those of the source but for the percentiles that are clipped.
        assert np.corrcoef(image.get_fdata()[linear], before[linear])[0, 1] > 0.999


def test_two_runs_give_the_same_bytes(hospital: Clinic, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    done = hospital(*WORDS, "--license", "CC0-1.0", "-o", out).json
    assert done["id"] == hospital("release", "verify", mixed).json["id"]
    files = sorted(path.relative_to(mixed) for path in mixed.rglob("*") if path.is_file())
    assert all((mixed / one).read_bytes() == (out / one).read_bytes() for one in files)


def test_a_recipient_can_tell_them_apart(mixed: Path) -> None:
    samples = medvae.Release.open(mixed).samples
    assert {one.subject: one.synthetic for one in samples} == {
        row["participant_id"].removeprefix("sub-"): row["origin"] == "synthetic"
        for row in rows(mixed)
    }
    assert all(one.label_map is not None for one in samples)


@pytest.mark.skipif(not VALIDATOR.exists(), reason="bids-validator-deno is not installed")
def test_the_validator_finds_no_error(mixed: Path) -> None:
    assert validate(mixed)[0] == []
    assert validate(mixed / "derivatives" / "labels")[0] == []


def test_nnunet_trains_on_both(hospital: Clinic, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    hospital(*WORDS, "--format", "nnunet", "-o", out)
    check_rules(out)
    told = json.loads((out / "dataset.json").read_text())
    assert told["numTraining"] == 5
    assert "3 public images (made up)" in told["description"]
    names = [path.name for path in sorted((out / "labelsTr").iterdir())]
    assert names[:3] == [f"public000{n}.nii.gz" for n in (1, 2, 3)]
    assert len(medvae.Release.open(out)) == 5


def test_dicom_is_refused_before_anything_is_drawn(hospital: Clinic, tmp_path: Path) -> None:
    refused = hospital(*WORDS, "--format", "dicom", "-o", tmp_path / "out", ok=False)
    assert refused.code == 2
    assert "not into DICOM" in refused.err
    assert not any(tmp_path.iterdir())


def test_a_model_without_an_entry_has_no_public_images(journey: Clinic, tmp_path: Path) -> None:
    refused = journey(*WORDS, "-o", tmp_path / "out", ok=False)
    assert refused.code == 2
    assert "no entry of the public library" in refused.err


def test_a_public_person_who_was_ingested_since_stops_the_release(
    hospital: Clinic, tmp_path: Path
) -> None:
    """Last in the file: the tenant holds the person from now on."""
    shutil.copytree(hospital.root / "public", tmp_path / "late")
    folder = tmp_path / "late"
    hospital(
        *("ingest", folder / "images", "--labels", folder / "labels", "-d", "late"),
        *("--modality", "mri", "--label-scheme", SCHEME, "--files-are-patients"),
    )
    # Compared with nobody, too: the images themselves are looked at.
    for words in (WORDS, (*WORDS, "--reference", "none")):
        refused = hospital(*words, "-o", tmp_path / "out", ok=False)
        assert refused.code == 2
        assert "ingested patient" in refused.err
        assert not (tmp_path / "out").exists()
