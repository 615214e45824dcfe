"""A scan opens one account, and a scan of the tenant is no public template."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli.conftest import DECLARED, QUICK, Clinic
from tests.conftest import phantom


def other_voxel(voxels: np.ndarray) -> np.ndarray:
    changed = voxels.copy()
    changed[5, 6, 7] += 1
    return changed


CHANGES = {
    "voxel": (other_voxel, np.eye(4)),
    "linear": (lambda v: 2 * v + 1, np.eye(4)),
    "shifted": (lambda v: other_voxel(v), np.diag([1.1, 1.0, 1.4, 1.0])),
    "flipped": (lambda v: other_voxel(v)[::-1], np.eye(4)),
    "turned": (lambda v: np.transpose(other_voxel(v), (1, 0, 2)), np.eye(4)),
    "bright": (lambda v: np.where(v == v.max(), 10000 * v.astype(np.float32), v), np.eye(4)),
}


def a_scan(scans: Path) -> np.ndarray:
    return np.asarray(nib.load(scans / "images" / "CANARY-FILE-5-0.nii.gz").dataobj)


@pytest.fixture
def copied(scans: Path, tmp_path: Path) -> Path:
    """images/ with near-copies of one patient's scan."""
    for name, (change, affine) in CHANGES.items():
        path = tmp_path / "copied" / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(change(a_scan(scans)), affine), path)
    return tmp_path / "copied"


def table(folder: Path, subjects: list[str]) -> None:
    rows = [f"{name}.nii.gz,{s}" for name, s in zip(CHANGES, subjects, strict=True)]
    (folder / "subjects.csv").write_text("\n".join(["filename,subject", *rows]))


def test_near_copies_are_one_patients(clinic: Clinic, scans: Path, copied: Path) -> None:
    first = clinic("ingest", scans, "-d", "d", *DECLARED).json
    assert first["quarantined"] == []
    table(copied, ["other", "another", "a third", "a fourth", "a fifth", "a sixth"])
    refused = clinic("ingest", copied, "-d", "d", *DECLARED, ok=False)
    assert refused.code == 3
    assert "another patient's; name the same patient in the subjects table" in refused.err
    table(copied, ["CANARY-PATIENT-5"] * len(CHANGES))
    taken = clinic("ingest", copied, "-d", "d", *DECLARED).json
    # Two of them differ in their headers alone: they are one scan.
    assert (taken["quarantined"], taken["added"]) == ([], len(CHANGES) - 1)
    assert "1 scan was given more than once and counts once" in taken["notes"]
    assert taken["subjects"] == first["subjects"]


def test_near_copies_within_one_ingest_are_found(clinic: Clinic, copied: Path) -> None:
    words = ("ingest", copied, "-d", "d", "--modality", "mri")
    taken = clinic(*words, "--files-are-patients").json
    assert (taken["volumes"], len(taken["quarantined"])) == (1, len(CHANGES) - 1)
    again = clinic(*words, "--files-are-patients").json
    assert (again["added"], len(again["quarantined"])) == (0, len(CHANGES) - 1)


def test_a_volume_of_an_earlier_version_is_compared_too(
    clinic: Clinic, scans: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvae.api import intake

    with monkeypatch.context() as patch:
        patch.setattr(intake, "note_likeness", lambda entry, volume: None)
        clinic("ingest", scans, "-d", "d", *DECLARED)
    table(copied, ["other", "another", "a third", "a fourth", "a fifth", "a sixth"])
    assert clinic("ingest", copied, "-d", "d", *DECLARED, ok=False).code == 3


@pytest.mark.parametrize("change", ["exact", *CHANGES, "transposed"])
def test_a_scan_of_the_tenant_is_no_public_template(
    clinic: Clinic, scans: Path, tmp_path: Path, change: str
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    voxels = a_scan(scans)
    if change == "transposed":
        voxels = np.transpose(voxels, (1, 2, 0))
    elif change != "exact":
        voxels = CHANGES[change][0](voxels)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "public.nii")
    words = ("-c", QUICK, "-d", "d", "--set", f"atlas.public={tmp_path / 'public.nii'}")
    for refused in (
        clinic("plan", *words, ok=False),
        clinic("train", *words, "--name", "m", ok=False),
    ):
        assert refused.code == 2
        assert "is a scan of an ingested patient" in refused.err
    assert clinic("budget").json["spent"] == 0


def test_a_mask_of_the_tenant_is_no_public_one(clinic: Clinic, scans: Path, tmp_path: Path) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    image, mask = phantom(np.random.default_rng(99))
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "public.nii")
    shutil.copy(scans / "labels" / "CANARY-FILE-5-0.nii.gz", tmp_path / "theirs.nii.gz")
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "labels.nii.gz")
    words = ("plan", "-c", QUICK, "-d", "d", "--set", f"atlas.public={tmp_path / 'public.nii'}")
    theirs = ("--set", f"atlas.public_labels={tmp_path / 'theirs.nii.gz'}")
    refused = clinic(*words, *theirs, ok=False)
    assert refused.code == 2
    assert "is the mask of an ingested patient" in refused.err
    clinic(*words, "--set", f"atlas.public_labels={tmp_path / 'labels.nii.gz'}")
