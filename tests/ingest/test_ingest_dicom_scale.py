"""DICOM: the intensity scale is applied, or the series is refused; it is never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import one, refusal, series, voxels, write
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import VR

from medvae.ingest import Ingested, Quarantined, read
from medvae.ingest.normalise import rescaled

RAW = voxels((5, 6, 4)).astype(int)


def as_volume(stack: np.ndarray) -> np.ndarray:
    """[X, Y, Z] in RAS+ of slices [Z, rows, columns]."""
    return stack.transpose(2, 1, 0)[::-1, ::-1]


def spelled(data: Dataset, name: str, value: str) -> None:
    """Store text that pydicom's own checks would not let through."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import DataElement

    tag = Tag(tag_for_keyword(name) or 0)
    vr = VR.LO  # any text; the bytes are then those of the DS that `write` makes of it
    data[tag] = DataElement(tag, vr, value.split("\\"))
    data[tag].VR = VR.DS


def changed(folder: Path, change: Any, **more: Any) -> Path:
    slices = series(**more)
    for data in slices:
        change(data)
    return write(folder, slices)


def slope(value: Any) -> Any:
    def change(data: Dataset) -> None:
        del data.RescaleSlope
        if value != "absent":
            spelled(data, "RescaleSlope", value)

    return change


@pytest.mark.parametrize("value", ["absent", "", "1,0", "1.", " 1 ", "1E0", "+1"])
def test_the_intercept_holds_whatever_the_slope_looks_like(tmp_path: Path, value: str) -> None:
    volume = one(changed(tmp_path / "ct", slope(value))).volume
    assert np.array_equal(volume.voxels, as_volume(RAW - 1024))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("-1024,0", -1024), ("-1024,5", -1024.5), (",5", 0.5), ("-1e3", -1000), ("0", 0)],
)
def test_a_decimal_comma_is_a_decimal_point(tmp_path: Path, value: str, expected: float) -> None:
    folder = changed(tmp_path / "ct", lambda data: spelled(data, "RescaleIntercept", value))
    assert np.allclose(one(folder).volume.voxels, as_volume(RAW + expected))


@pytest.mark.parametrize(
    ("value", "refused"),
    [("-1,024", True), ("1,024", True), ("-1,000", True), ("0,125", False), ("-1024,000", False)],
)
def test_a_comma_that_may_group_thousands_is_refused(
    tmp_path: Path, value: str, refused: bool
) -> None:
    folder = changed(tmp_path / "ct", lambda data: spelled(data, "RescaleIntercept", value))
    (result,) = read([folder])
    assert isinstance(result, Quarantined) == refused
    if refused:
        assert f"RescaleIntercept {value} is" in refusal(folder)


@pytest.mark.parametrize(("bits", "slope", "read_"), [(8, 1, False), (8, 8, True), (12, 1, True)])
def test_ct_of_too_few_bits_for_hounsfield_units_is_refused(
    tmp_path: Path, bits: int, slope: int, read_: bool
) -> None:
    slices = series(size=(20, 18), BitsStored=bits, HighBit=bits - 1, PixelRepresentation=0)
    for data in slices:
        data.RescaleSlope = slope
        stored = np.frombuffer(data.PixelData, "<u2") % 2**bits
        data.PixelData = stored.astype("<u2").tobytes()
    (result,) = read([write(tmp_path / "ct", slices)])
    assert isinstance(result, Ingested) == read_
    if not read_:
        assert "8 bits, which hold 256 HU" in refusal(tmp_path / "ct")


def test_a_decimal_comma_is_read_in_geometry_too(tmp_path: Path) -> None:
    def change(data: Dataset) -> None:
        z = f"{data.ImagePositionPatient[2]:.1f}".replace(".", ",")
        spelled(data, "ImagePositionPatient", f"10,0\\20,0\\{z}")
        spelled(data, "ImageOrientationPatient", "0,8\\0,6\\0\\-0,6\\0,8\\0")
        spelled(data, "PixelSpacing", "0,75\\0,5")
        spelled(data, "SliceThickness", "2,5")

    def plain(data: Dataset) -> None:
        data.ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]

    commas = one(changed(tmp_path / "commas", change)).volume
    points = one(changed(tmp_path / "points", plain)).volume
    assert np.allclose(commas.affine, points.affine)
    assert commas.meta == points.meta
    assert np.array_equal(commas.voxels, points.voxels)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", ["abc", "1,0,0", "1.024,0", "1\\2", "NaN", "1e400"])
def test_a_scale_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, name: str, value: str
) -> None:
    folder = changed(tmp_path / "ct", lambda data: spelled(data, name, value))
    assert f"its {name} cannot be read" in refusal(folder)


@pytest.mark.parametrize("value", ["abc\\1", "1", "1\\2\\3"])
def test_a_geometry_that_cannot_be_read_is_not_called_absent(tmp_path: Path, value: str) -> None:
    folder = changed(tmp_path / "ct", lambda data: spelled(data, "PixelSpacing", value))
    assert "its PixelSpacing cannot be read: expected 2 numbers" in refusal(folder)


@pytest.mark.parametrize("empty", [True, False])
def test_ct_without_an_intercept_is_refused(tmp_path: Path, empty: bool) -> None:
    def change(data: Dataset) -> None:
        for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            if empty:
                setattr(data, name, None)
            else:
                delattr(data, name)

    reason = refusal(changed(tmp_path / "ct", change))
    assert "lacks RescaleIntercept" in reason


def test_one_slice_without_its_intercept_is_enough(tmp_path: Path) -> None:
    slices = series()
    del slices[3].RescaleIntercept
    assert "lacks RescaleIntercept" in refusal(write(tmp_path / "ct", slices))


def test_mri_needs_no_scale(tmp_path: Path) -> None:
    volume = one(write(tmp_path / "mr", series(modality="MR"))).volume
    assert np.array_equal(volume.voxels, as_volume(RAW))


def test_slices_of_a_scale_among_others_without_one_are_refused(tmp_path: Path) -> None:
    slices = series(modality="MR")
    for data in slices[::2]:
        data.RescaleSlope, data.RescaleIntercept = 2.5, 0
    reason = refusal(write(tmp_path / "mr", slices))
    assert reason.startswith("2 of its 5 slices lack the RescaleSlope that the others have")
    for data in slices[::2]:
        data.RescaleSlope = 1
    assert np.array_equal(one(write(tmp_path / "one", slices)).volume.voxels, as_volume(RAW))


def test_an_unreadable_scale_of_mri_is_refused_all_the_same(tmp_path: Path) -> None:
    folder = changed(
        tmp_path / "mr", lambda data: spelled(data, "RescaleSlope", "one"), modality="MR"
    )
    assert "its RescaleSlope cannot be read" in refusal(folder)


@pytest.mark.parametrize("kind", ["u1", "i1", "<i2", ">u2", "<i4", ">u4", "i8", "u8"])
def test_whole_numbers_are_scaled_exactly(kind: str) -> None:
    """Against Python's integers, from the ends of each type and around those of int16."""
    limits = np.iinfo(np.dtype(kind))
    draw = np.random.default_rng(5)
    for slope, intercept in [(1, 0), (1, -1024), (-1, 7), (3, 30000), (1, -(2**31)), (1, -(2**63))]:
        for middle in (limits.min, 0, limits.max, -intercept // slope):
            around = [middle + int(n) for n in draw.integers(-900, 900, 24)]
            numbers = [min(max(n, limits.min), limits.max) for n in around]
            stored = np.array(numbers, np.dtype(kind)).reshape(2, 3, 4)
            expected = [n * slope + intercept for n in numbers]
            voxels = rescaled(stored, float(slope), float(intercept))
            if all(-32768 <= n <= 32767 for n in expected):
                assert voxels.dtype == np.int16
                assert voxels.ravel().tolist() == expected
            else:
                assert voxels.dtype == np.float32
                assert np.allclose(voxels.ravel(), np.array(expected, np.float64), rtol=1e-6)
