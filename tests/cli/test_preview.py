"""A look at scans before and after ingest: right sides, right masks, marked as real, logged."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medvae.release.preview import SIDES, WARNING, scan_of, sheet
from medvae.volume import Volume
from tests.cli.conftest import Clinic

SHAPE = (12, 11, 10)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two scans of ALICE and one of BOB, who has a mask."""
    tmp_path /= "in"
    tmp_path.mkdir()
    rows = "filename,subject\n"
    for n, person in enumerate(["ALICE", "ALICE", "BOB"]):
        voxels = np.random.default_rng(n).integers(0, 900, SHAPE).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), tmp_path / f"s{n}.nii.gz")
        rows += f"s{n}.nii.gz,{person}\n"
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:8, 4:9, 2:6] = 2
    nib.save(nib.Nifti1Image(mask, np.diag([2.0, 2, 2, 1])), tmp_path / "s2_seg.nii.gz")
    (tmp_path / "subjects.csv").write_text(rows)
    return tmp_path


def stored(clinic: Clinic) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in (clinic.root / "vault").rglob("*") if p.is_file()}


def test_a_dry_run_lists_what_would_be_stored_and_stores_nothing(
    clinic: Clinic, tmp_path_factory: pytest.TempPathFactory, cohort: Path
) -> None:
    out = tmp_path_factory.mktemp("sheet") / "sheet.png"
    words = ("ingest", cohort, "-d", "d", "--modality", "mri")
    clinic("dataset", "list")
    before = stored(clinic)
    found = clinic(*words, "--dry-run", "--sheet", out)
    after = {name: data for name, data in stored(clinic).items() if "audit" not in name}
    assert after.keys() <= before.keys()
    assert all(before[name] == data for name, data in after.items() if "objects" in name)
    assert found.json["dry_run"]
    assert (found.json["version"], found.json["volumes"], found.json["added"]) == (0, 3, 3)
    assert (found.json["subjects"], found.json["masks"], found.json["unit"]) == (2, 1, "patient")
    assert sorted(row["labels"] for row in found.json["rows"]) == [[], [], [2]]
    assert {tuple(row["shape"]) for row in found.json["rows"]} == {SHAPE}
    assert "ALICE" not in found.out
    assert clinic("dataset", "list").json["datasets"] == []
    assert out.stat().st_mode & 0o777 == 0o600
    # What was listed is what is then stored, under the same pseudonyms.
    made = clinic(*words).json
    assert (made["volumes"], made["subjects"], made["masks"]) == (3, 2, 1)
    again = clinic(*words, "--dry-run").json
    assert (again["version"], again["added"]) == (1, 0)


def test_a_dry_run_refuses_as_the_ingest_does(clinic: Clinic, cohort: Path) -> None:
    (cohort / "s1.nii.gz").write_bytes(b"damaged")
    words = ("ingest", cohort, "-d", "d", "--modality", "mri")
    rehearsed = clinic(*words, "--dry-run").json
    assert [one["source"] for one in rehearsed["quarantined"]] == [str(cohort / "s1.nii.gz")]
    assert rehearsed["quarantined"] == clinic(*words).json["quarantined"]
    (cohort / "s0.nii.gz").write_bytes(b"damaged")
    (cohort / "s2.nii.gz").write_bytes(b"damaged")
    assert clinic(*words, "--dry-run", ok=False).code == 3


def test_a_sheet_needs_a_dry_run_and_a_new_picture(clinic: Clinic, cohort: Path) -> None:
    words = ("ingest", cohort, "-d", "d", "--modality", "mri")
    assert clinic(*words, "--sheet", cohort / "x.png", ok=False).code == 2
    assert clinic(*words, "--dry-run", "--sheet", cohort / "x.jpg", ok=False).code == 2
    clinic(*words)
    (cohort / "old.png").write_bytes(b"kept")
    assert clinic("dataset", "preview", "d", "-o", cohort / "old.png", ok=False).code == 2
    assert (cohort / "old.png").read_bytes() == b"kept"
    new = cohort / "new.png"
    assert clinic("dataset", "preview", "d", "-o", new, "--volumes", "0", ok=False).code == 2


def test_a_preview_shows_each_patient_and_is_logged(clinic: Clinic, cohort: Path) -> None:
    clinic("ingest", cohort, "-d", "d", "--modality", "mri", "--label-scheme", "2=organ")
    out = cohort / "p.png"
    found = clinic("dataset", "preview", "d", "-o", out, "--volumes", "2")
    assert found.json["volumes"] == 2
    assert "real patients" in found.err
    picture = Image.open(out)
    assert picture.text["Description"] == WARNING
    event = clinic("log").json["events"][-1]
    assert event["event"] == "export"
    assert {"dataset": "d@1", "volumes": 2, "format": "png"}.items() <= event["details"].items()
    assert b"ALICE" not in out.read_bytes()


def test_a_panel_has_the_sides_that_its_letters_name() -> None:
    """A bright corner to the right, front and head is in the corner of these letters."""
    voxels = np.zeros((8, 9, 10), np.int16)
    voxels[6:, :, :] += 100
    voxels[:, 7:, :] += 100
    voxels[:, :, 8:] += 100
    scan = scan_of(Volume(voxels, np.diag([1.0, 1, 1, 1]), "mri"), "x")
    toward = {"R": 0, "A": 1, "S": 2}
    for panel in scan.panels:
        left, right, bottom, top = SIDES[panel.axis]
        # The picture's right and top are the sides that the volume's axes run to.
        assert panel.picture[:, -1].mean() > panel.picture[:, 0].mean()
        assert panel.picture[0].mean() > panel.picture[-1].mean()
        across, up = (a for a in range(3) if a != panel.axis)
        assert (toward[right], toward[top]) == (across, up)
        assert (left, bottom) == ("LPI"[across], "LPI"[up])


def test_a_sheet_is_drawn_of_any_volume() -> None:
    """Flat, empty of finite voxels, a picture, in colour, with labels everywhere."""
    grid = np.diag([1.0, 1, 5, 1])
    odd = [
        Volume(np.zeros((5, 6, 7), np.int16), grid, "mri"),
        Volume(np.full((5, 6, 7), np.nan, np.float32), grid, "mri"),
        Volume(np.arange(30, dtype=np.int16).reshape(5, 6, 1), grid, "mri"),
        Volume(
            np.random.default_rng(0).random((3, 5, 6, 1)).astype(np.float32),
            grid,
            "mri",
            channels=("red", "green", "blue"),
        ),
        Volume(np.zeros((5, 6, 7), np.int16), grid, "mri", np.full((5, 6, 7), 250, np.uint8)),
    ]
    data = sheet([scan_of(volume, "$x_") for volume in odd], "$t_", {"250": "a $"})
    assert Image.open(io.BytesIO(data)).width > 500
