"""A second ingest of the same scans adds what they lacked; who they are of stays."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae import memory
from tests.cli.conftest import BY_FILE, Clinic

SCHEME = "label_scheme.csv"
SHAPE = (12, 11, 10)


def save(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three scans, a folder of masks with their names, and a table with classes."""
    for n in range(3):
        save(tmp_path / f"i/s{n}.nii.gz", scan(n))
        save(tmp_path / f"m/s{n}.nii.gz", (scan(n) > 500).astype(np.uint8))
    rows = "".join(f"s{n}.nii.gz,P{n},{n % 2}\n" for n in range(3))
    (tmp_path / "t.csv").write_text(f"filename,subject,grade\n{rows}")
    return tmp_path


def counts(result: dict[str, object]) -> tuple[object, ...]:
    return tuple(result[key] for key in ("volumes", "subjects", "masks", "added", "updated"))


def test_masks_and_classes_that_come_later_update_the_scans(clinic: Clinic, cohort: Path) -> None:
    table = ("--subjects", cohort / "t.csv", "--modality", "mri")
    first = clinic("ingest", cohort / "i", "-d", "d", *table).json
    assert counts(first) == (3, 3, 0, 3, 0)
    masks = ("--labels", cohort / "m", "--label-scheme", "1=organ")
    second = clinic("ingest", cohort / "i", "-d", "d", *table, *masks).json
    assert counts(second) == (3, 3, 3, 0, 3)
    classes = ("--class-column", "grade", "--classes", "2")
    third = clinic("ingest", cohort / "i", "-d", "d", *table, *classes).json
    # The masks of the second are still there.
    assert counts(third) == (3, 3, 3, 0, 3)
    assert third["version"] == 3
    again = clinic("ingest", cohort / "i", "-d", "d", *table).json
    assert counts(again) == (3, 3, 3, 0, 0)
    assert again["version"] == 3
    assert clinic("plan", "-c", "quick", "-d", "d").json["patients"] == 3


def test_large_scans_are_known_by_the_digests_of_small_ones(
    clinic: Clinic, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic("ingest", cohort / "i", "-d", "d", *BY_FILE)
    before = clinic("verify").json["objects"]
    monkeypatch.setattr(memory, "LARGE", 1)
    again = clinic("ingest", cohort / "i", "-d", "d", *BY_FILE).json
    assert counts(again) == (3, 3, 0, 0, 0)
    masks = ("--labels", cohort / "m", "--label-scheme", "1=organ")
    assert counts(clinic("ingest", cohort / "i", "-d", "e", *BY_FILE).json) == (3, 3, 0, 3, 0)
    # The volumes are those that are stored: the second data set adds its own list alone.
    assert clinic("verify").json["objects"] == before + 1
    updated = clinic("ingest", cohort / "i", "-d", "d", *BY_FILE, *masks).json
    assert counts(updated) == (3, 3, 3, 0, 3)


def test_a_change_of_what_a_stored_scan_is_is_told(clinic: Clinic, cohort: Path) -> None:
    first = clinic("ingest", cohort / "i", "-d", "d", *BY_FILE).json
    assert not [note for note in first["notes"] if "was changed" in note]
    for n in range(3):
        nib.save(nib.Nifti1Image(scan(n), np.diag([1.0, 2.0, 2.0, 1.0])), cohort / f"i/s{n}.nii.gz")
    files = ("--files-are-patients", "--modality", "pet")
    second = clinic("ingest", cohort / "i", "-d", "d", *files).json
    assert counts(second) == (3, 3, 0, 0, 3)
    told = [note for note in second["notes"] if "was changed" in note]
    assert ["from mri to pet" in told[0], "voxel size" in told[1]] == [True, True]


def test_a_file_is_known_again_wherever_it_is_now(clinic: Clinic, cohort: Path) -> None:
    clinic("ingest", cohort / "i", "-d", "d", *BY_FILE)
    (cohort / "i").rename(cohort / "moved")
    again = clinic("ingest", cohort / "moved", "-d", "d", *BY_FILE, "--labels", cohort / "m").json
    assert counts(again) == (3, 3, 3, 0, 3)


@pytest.mark.parametrize("together", [True, False])
def test_equal_names_in_two_sources_are_two_files(
    clinic: Clinic, tmp_path: Path, together: bool
) -> None:
    for n, place in enumerate(("a", "b", "c")):
        save(tmp_path / place / "001.nii.gz", scan(n))
    sources = [tmp_path / place for place in ("a", "b", "c")]
    if together:
        found = clinic("ingest", *sources, "-d", "d", *BY_FILE).json
    else:
        found = [clinic("ingest", one, "-d", "d", *BY_FILE).json for one in sources][-1]
    assert (found["volumes"], found["subjects"], found["unit"]) == (3, 3, "file")


def test_a_table_after_an_ingest_by_file_is_told_what_to_do(clinic: Clinic, cohort: Path) -> None:
    clinic("ingest", cohort / "i", "-d", "d", *BY_FILE)
    right = ("ingest", cohort / "i", "-d", "d", "--subjects", cohort / "t.csv", "--modality", "mri")
    refused = clinic(*right, ok=False)
    assert refused.code == 3
    assert "medvae dataset delete d --yes" in refused.json["error"]
    clinic("dataset", "delete", "d", "--yes")
    found = clinic(*right).json
    assert (found["volumes"], found["unit"]) == (3, "patient")


def test_all_reasons_are_counted(clinic: Clinic, tmp_path: Path) -> None:
    root = tmp_path / "odd"
    for n in range(3):
        save(root / f"series{n}.nii.gz", np.zeros((5, 5, 5, n + 2), np.int16))
    (root / "aaa.bin").write_bytes(b"nothing")
    (root / "cut.nii.gz").write_bytes(gzip.compress(b"\x5c\x01\x00\x00"))
    refused = clinic("ingest", root, "-d", "d", *BY_FILE, ok=False)
    assert refused.code == 3
    found = refused.json
    assert [one["count"] for one in found["reasons"]] == [3, 1, 1]
    assert len(found["quarantined"]) == 5
    assert found["error"].index("3 sources: it is a series of volumes") < found["error"].index(
        "aaa.bin"
    )


@pytest.mark.parametrize("by_file", [False, True])
def test_ingest_of_an_export_gives_the_same_cohort(
    clinic: Clinic, cohort: Path, tmp_path: Path, by_file: bool
) -> None:
    masks = ("--labels", cohort / "m", "--label-scheme", "1=organ", "--modality", "mri")
    table = ("--subjects", cohort / "t.csv", "--class-column", "grade", "--classes", "2")
    who = ("--files-are-patients",) if by_file else table
    first = clinic("ingest", cohort / "i", "-d", "d", *masks, *who).json
    assert first["quarantined"] == []
    out = tmp_path / "out"
    exported = clinic("dataset", "export", "d", "-o", out).json
    assert [Path(one).name for one in exported["tables"]] == ["subjects.csv", "label_scheme.csv"]
    clinic("dataset", "delete", "d", "--yes")
    again = ("ingest", out, "-d", "d", "--modality", "mri", "--label-scheme", out / SCHEME)
    classes = () if by_file else ("--class-column", "class", "--classes", "2")
    second = clinic(*again, *classes, *(("--files-are-patients",) if by_file else ())).json
    assert second["quarantined"] == []
    for key in ("subjects", "volumes", "masks", "unit", "declared"):
        assert second[key] == first[key]
    assert not any("class" in note for note in second["notes"])


def test_plan_says_whom_it_protects(clinic: Clinic, cohort: Path) -> None:
    table = ("--subjects", cohort / "t.csv", "--modality", "mri")
    for name, who, unit in (("f", BY_FILE, "file"), ("p", table, "patient")):
        clinic("ingest", cohort / "i", "-d", name, *who)
        assert clinic("plan", "-c", "quick", "-d", name).json["unit"] == unit
        clinic("dataset", "delete", name, "--yes")
