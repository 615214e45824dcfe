"""No patient's data can stop a training once its budget is spent."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medvae import api, grid
from medvae.api import datasets, intake
from medvae.volume import Volume
from tests.cli.conftest import DECLARED, QUICK, Clinic
from tests.conftest import phantom

COARSE = ("--set", "data.spacing=[4, 4, 4]", "--set", "data.size=[8, 8, 8]")


def odd_volumes() -> dict[str, tuple[np.ndarray, float]]:
    """Name -> voxels and their size in mm: all that ingest takes and a grid may stumble over."""
    rng = np.random.default_rng(1)
    broken = rng.normal(500, 100, (9, 9, 9)).astype(np.float32)
    broken[::2] = np.inf
    broken[1::2, ::2] = -np.inf
    return {
        "tiny": (rng.integers(0, 900, (3, 3, 3)).astype(np.int16), 0.1),
        "slice": (rng.integers(0, 900, (64, 64, 1)).astype(np.int16), 0.9),
        "thin": (rng.integers(0, 900, (64, 64, 2)).astype(np.int16), 0.9),
        "infinite": (broken, 4.0),
        "huge": (np.array([[[9e11, -9e11]]], np.float32), 100.0),
    }


def seal(clinic: Clinic, dataset: str, subject: str, volume: Volume) -> None:
    """A volume that ingest refuses today, as an earlier version may have sealed it."""
    session = api.open(clinic.root / "vault", "clinic", identity=clinic.root / "key")
    with session.tenant.writer():
        holder = intake.Holder(session.tenant.pseudonym(subject), False)
        _, data, digest = intake._digests(session.tenant, volume)
        stored = session.tenant.put("volume", data, name=digest)
        entry = intake._entry(volume, stored, digest, subject, holder)
        undeclared = {"label_scheme": None, "classes": None}
        datasets.add_version(session.tenant, dataset, [entry], undeclared)


@pytest.fixture
def odd(clinic: Clinic, scans: Path, tmp_path: Path) -> Clinic:
    """The cohort and a patient for each odd volume, with a mask of undeclared labels."""
    folder = tmp_path / "odd"
    shutil.copytree(scans, folder)
    lines = []
    for name, (voxels, size) in odd_volumes().items():
        affine = np.diag([size, size, size, 1.0])
        nib.save(nib.Nifti1Image(voxels, affine), folder / "images" / f"{name}.nii")
        mask = np.full(voxels.shape, 200, np.uint8)
        nib.save(nib.Nifti1Image(mask, affine), folder / "labels" / f"{name}.nii")
        lines.append(f"{name}.nii,{name}\n")
    with (folder / "subjects.csv").open("a") as table:
        table.writelines(lines)
    taken = clinic("ingest", folder, "-d", "d", *DECLARED, "--classes", "2").json
    assert taken["quarantined"] == []
    image, _ = phantom(np.random.default_rng(3))
    nothing = np.full((4, 4, 4), np.nan, np.float32)
    flat = np.full((16, 16, 16), 7, np.int16)
    seal(clinic, "d", "constant", Volume(flat, np.diag([4.0, 4, 4, 1]), "mri", flat.astype("u1")))
    huge = np.array([[[1e38, -1e38]]], np.float32)
    seal(clinic, "d", "huge", Volume(huge, np.diag([100.0, 100, 100, 1]), "mri"))
    seal(clinic, "d", "nothing", Volume(nothing, np.eye(4), "mri"))
    seal(clinic, "d", "no such class", Volume(image, np.eye(4), "mri", None, {"class": 15}))
    return clinic


def test_odd_volumes_do_not_stop_a_training(odd: Clinic) -> None:
    trained = odd("train", "-c", QUICK, "-d", "d", "--name", "m", *COARSE).json
    assert len(trained["notes"]) == 1
    assert trained["notes"][0].startswith("1 volumes could not be brought to the grid")
    assert odd("budget").json["spent"] == pytest.approx(trained["epsilon"], rel=1e-3)
    odd("evaluate", "m", "--against", "d", "-n", "4", "--no-downstream")
    odd("audit", "m", "-n", "4", ok=False)


def test_a_crash_before_the_debit_spends_nothing_and_is_in_the_trail(
    odd: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("CANARY")

    with monkeypatch.context() as patch:
        patch.setattr(grid, "crop_or_pad", crash)
        failed = odd("train", "-c", QUICK, "-d", "d", "--name", "m", *COARSE, ok=False)
    assert failed.code == 1
    assert odd("budget").json["spent"] == 0
    last = odd("log").json["events"][-1]
    assert (last["event"], last["outcome"]) == ("train", "failure")
    assert "ZeroDivisionError" in str(last)
    assert "CANARY" not in str(last)
    odd("train", "-c", QUICK, "-d", "d", "--name", "m", *COARSE, "--resume")
