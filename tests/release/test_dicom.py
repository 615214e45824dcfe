"""DICOM releases, held against two programs of the field where they are installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medvae.errors import InputError
from medvae.release import ReleaseResult, verify, write_dicom
from medvae.release.dicom import Series, series_slices
from medvae.release.dicom_files import write_slices
from tests.release.made import CT, MRI, facts, synthetic

Make = Callable[..., ReleaseResult]


@pytest.fixture(params=["mri", "ct"])
def data(request: pytest.FixtureRequest) -> Any:
    return {"mri": MRI, "ct": CT}[request.param]


@pytest.fixture
def release(make: Make, data: Any) -> Path:
    told = facts(data, body_part="chest" if data is CT else "brain")
    return make(data, n=2, facts=told, fmt="dicom").path


def test_slices_are_written_as_pydicom_writes_them(data: Any, tmp_path: Path) -> None:
    (volume,) = synthetic(1, data)
    slices = series_slices(volume, Series("SYNTH0001", "2026-01-02", "brain", (0.0, 1000.0)))
    # One that no other slice has, and text that the character set decides on.
    slices.own[1].ImageComments = "h\u00f6her"
    files = [tmp_path / f"{index}.dcm" for index in range(len(slices.own))]
    write_slices(files, slices)
    for path, one in zip(files, slices.own, strict=True):
        whole = pydicom.Dataset()
        whole.update(slices.shared)
        whole.update(one)
        whole.file_meta = one.file_meta
        pydicom.dcmwrite(tmp_path / "own.dcm", whole, enforce_file_format=True)
        assert path.read_bytes() == (tmp_path / "own.dcm").read_bytes()
    slices.own[2].SeriesDescription = "another"
    with pytest.raises(ValueError, match="both shared"):
        write_slices([tmp_path / f"again{index}.dcm" for index in range(len(files))], slices)


def test_a_series_is_marked_synthetic_throughout(release: Path, data: Any) -> None:
    assert verify(release).unchanged
    files = sorted(release.glob("SYNTH*/*.dcm"))
    assert len(files) == 2 * data.size[2]
    heads = [pydicom.dcmread(path) for path in files]
    assert len({head.SOPInstanceUID for head in heads}) == len(files)
    assert len({head.SeriesInstanceUID for head in heads}) == 2
    assert len({head.StudyInstanceUID for head in heads}) == 2
    for head in heads:
        assert str(head.PatientName).startswith("SYNTH^")
        assert head.PatientIdentityRemoved == "YES"
        assert list(head.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert head.ContentQualification == "RESEARCH"
        assert "SYNTHETIC" in head.SeriesDescription
        assert head.BurnedInAnnotation == "NO"
        assert head.preamble == b"\0" * 128
    constant = ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept")
    for name in constant:
        assert len({str(head.get(name)) for head in heads}) == 1


def test_pixels_lie_where_the_affine_says(release: Path, data: Any) -> None:
    """Each pixel's place by the formula of PS3.3 C.7.6.2.1.1, against the affine."""
    volume = next(iter(synthetic(1, data)))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    inverse = np.linalg.inv(lps)
    for path in sorted((release / "SYNTH0001").iterdir()):
        head = pydicom.dcmread(path)
        across, down = np.reshape(np.array(head.ImageOrientationPatient, float), (2, 3))
        assert across[0] > 0.99, "columns run to the patient's left"
        assert down[1] > 0.99, "rows run to the back"
        origin = np.array(head.ImagePositionPatient, float)
        row_step, column_step = (float(v) for v in head.PixelSpacing)
        for row, column in ((0, 0), (3, 5), (head.Rows - 1, head.Columns - 1)):
            place = origin + across * column_step * column + down * row_step * row
            i, j, k = np.rint((inverse @ [*place, 1.0])[:3]).astype(int)
            assert head.pixel_array[row, column] == volume.voxels[i, j, k]


def test_equal_releases_are_equal_and_others_have_other_uids(make: Make, tmp_path: Path) -> None:
    one, two, other = (
        make(n=1, fmt="dicom", out=tmp_path / name, volumes=synthetic(1, MRI, seed)).path
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    for path in sorted(one.rglob("*.dcm")):
        name = path.relative_to(one)
        assert path.read_bytes() == (two / name).read_bytes()
        mine, theirs = pydicom.dcmread(path), pydicom.dcmread(other / name)
        for uid in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            assert mine[uid].value != theirs[uid].value


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(release: Path) -> None:
    for path in sorted((release / "SYNTH0001").iterdir())[:2]:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert "CTImage" in said or "MRImage" in said
        assert "Error" not in said, said


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
def test_dcm2niix_gives_the_volume_back(release: Path, data: Any, tmp_path: Path) -> None:
    series = release / "SYNTH0002"
    command = ["dcm2niix", "-z", "n", "-f", "back", "-o", str(tmp_path), str(series)]
    subprocess.run(command, capture_output=True, check=True)
    volume = list(synthetic(2, data))[1]
    ours = nib.as_closest_canonical(nib.Nifti1Image(volume.voxels, volume.affine))
    back = nib.as_closest_canonical(nib.load(tmp_path / "back.nii"))
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), np.asanyarray(ours.dataobj))
    np.testing.assert_allclose(back.affine, ours.affine, atol=1e-4)


def test_oblique_is_kept_and_shear_is_refused(tmp_path: Path) -> None:
    volume = next(iter(synthetic(1, CT)))
    angle = 0.3
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    files = write_dicom(replace(volume, affine=turn @ volume.affine), tmp_path, "turned")
    head = pydicom.dcmread(files[0])
    assert abs(float(head.ImageOrientationPatient[0])) == pytest.approx(np.cos(angle))
    sheared = volume.affine.copy()
    sheared[0, 1] = 0.3
    with pytest.raises(InputError, match="sheared"):
        write_dicom(replace(volume, affine=sheared), tmp_path, "sheared")


def test_the_card_and_croissant_fit_the_format(release: Path) -> None:
    found = json.loads((release / "croissant.json").read_text())
    (images,) = [part for part in found["distribution"] if part["@id"] == "images"]
    assert images["encodingFormat"] == "application/dicom"
    assert list(release.glob(images["includes"]))
