"""An image of several scans is parsed once for all of them, and again when it is another one."""

from __future__ import annotations

import io
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import nifti, save, taken, write
from test_ingest_dicom_enhanced import CONTENT, SLICES, STACK, image
from test_ingest_workers import NIFTI_JOB, Seen

from medvae.ingest import sandbox as sandboxes
from medvae.ingest.records import DEFAULT_LIMITS, Limits
from medvae.ingest.sandbox import Sandbox
from medvae.volume import Volume

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel warns of its reader of Siemens headers
    from medvae.ingest.dicom import whole
    from medvae.ingest.dicom.headers import headers_job
    from medvae.ingest.dicom.series import series_job

SALT = secrets.token_hex(32)


def two_scans(folder: Path, stack: np.ndarray = STACK) -> Path:
    made = image("time", lambda scan, _: {CONTENT: {"TemporalPositionIndex": scan + 1}}, 0.0, stack)
    return next(write(folder, [made]).iterdir())


def job(path: Path, scan: int) -> dict[str, Any]:
    with path.open("rb") as file:
        head, _ = headers_job({"salt": SALT}, iter([file]), DEFAULT_LIMITS)
    (summary,) = head["ok"]
    options = {"keep_demographics": False, "meta": {}, "kinds": [], "mark_keys": [], "scheme": None}
    asked = {"salt": SALT, "keys": [summary["key"]], "images": 1, "scan": scan, "scans": 2}
    return asked | options


def read_scan(path: Path, scan: int, packed: bool = False) -> np.ndarray:
    with path.open("rb") as file:
        given = io.BytesIO(file.read()) if packed else file
        _, body = series_job(job(path, scan), iter([given]), DEFAULT_LIMITS)
    return Volume.from_bytes(body).voxels


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever an image is parsed."""
    count: list[int] = []
    read = whole.read_dataset
    monkeypatch.setattr(whole, "_kept", whole._Kept())
    monkeypatch.setattr(
        whole, "read_dataset", lambda *a, **more: (count.append(1), read(*a, **more))[1]
    )
    return count


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_is_parsed_once_for_its_scans(
    tmp_path: Path, parsed: list[int], packed: bool
) -> None:
    path = two_scans(tmp_path)
    for scan in (0, 1, 0):
        own = STACK[scan * SLICES : (scan + 1) * SLICES] * 2 + 1
        found = read_scan(path, scan, packed)
        assert np.array_equal(found, own.transpose(2, 1, 0)[::-1, ::-1])
    assert len(parsed) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_that_was_changed_is_parsed_again(
    tmp_path: Path, parsed: list[int], packed: bool
) -> None:
    path = two_scans(tmp_path)
    read_scan(path, 0, packed)
    before = path.stat()
    two_scans(tmp_path, STACK[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    found = read_scan(path, 1, packed)
    own = STACK[::-1][SLICES:] * 2 + 1
    assert np.array_equal(found, own.transpose(2, 1, 0)[::-1, ::-1])
    assert len(parsed) == 2


def test_scans_of_an_image_share_a_process_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "SHARED_BYTES", 1)
    path, other = two_scans(tmp_path / "in"), save(tmp_path / "x.nii", nifti())
    sandbox = Sandbox(["series", "nifti"], Limits())
    first = Seen(path, sandbox, "x")
    after, again = Seen(other, sandbox, "x"), Seen(path, sandbox, "x")
    try:
        for scan in (0, 1):
            sandbox.run("series", [first], **job(path, scan))
        sandbox.run("series", [again], **job(path, 0))
        sandbox.run("nifti", [after], **NIFTI_JOB)
    finally:
        sandbox.stop()
    assert first.pids[0] == first.pids[1]
    # The last scan ends the process, and so does another file while scans are to come.
    assert len({first.pids[0], again.pids[0], after.pids[0]}) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_the_scans_are_the_same_by_any_number_of_processes(tmp_path: Path, workers: int) -> None:
    two_scans(tmp_path)
    found = [r.volume.voxels for r in taken(tmp_path, workers=workers)]
    for scan, voxels in enumerate(found):
        own = STACK[scan * SLICES : (scan + 1) * SLICES] * 2 + 1
        assert np.array_equal(voxels, own.transpose(2, 1, 0)[::-1, ::-1])
