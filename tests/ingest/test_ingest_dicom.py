"""DICOM: slices become volumes in the right order, place and units, or are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from ingest_makers import is_sentence, one, refusal, series, slice_of, taken, voxels, write
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    JPEG2000Lossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medvae.ingest import Ingested, Quarantined, read


def test_slices_are_put_in_order_with_their_geometry_and_units(tmp_path: Path) -> None:
    volume = one(write(tmp_path / "ct", series())).volume
    stack = voxels((5, 6, 4)).astype(int) - 1024
    # LPS to RAS turns both in-plane axes round.
    assert np.array_equal(volume.voxels, stack.transpose(2, 1, 0)[::-1, ::-1])
    assert volume.voxels.dtype == np.int16
    assert volume.spacing == pytest.approx((0.5, 0.75, 2.5))
    corner = np.array([10 + 3 * 0.5, 20 + 5 * 0.75, 30])
    assert np.allclose(volume.affine[:3, 3], corner * [-1, -1, 1])
    assert volume.modality == "ct"


@pytest.mark.parametrize(
    "orientation",
    [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (0.8, 0.6, 0, -0.6, 0.8, 0)],
)
def test_every_pixel_stays_where_it_is_in_the_patient(tmp_path: Path, orientation: Any) -> None:
    normal = np.cross(orientation[:3], orientation[3:])
    slices = []
    for i in range(4):
        pixels = np.zeros((6, 4), np.int16)
        pixels[2, 3] = 500 if i == 1 else 0
        where = np.array([10, 20, 30]) + 2.5 * i * normal
        slices.append(slice_of(i, pixels, modality="MR", position=where, orientation=orientation))
    volume = one(write(tmp_path / "mr", slices)).volume
    marked = np.array([10, 20, 30]) + 2.5 * normal
    marked = marked + 3 * 0.5 * np.array(orientation[:3]) + 2 * 0.75 * np.array(orientation[3:])
    found = np.argwhere(volume.voxels == 500)[0]
    assert np.allclose((volume.affine @ [*found, 1])[:3], marked * [-1, -1, 1], atol=1e-5)


def test_mixed_series_at_any_depth_come_apart(tmp_path: Path) -> None:
    mixed = series(5, series="1.2.1") + series(4, series="1.2.2", modality="MR", patient="PAT-2")
    write(tmp_path / "a/b/c", mixed[::2])
    write(tmp_path / "a/d", mixed[1::2])
    results = taken(tmp_path)
    assert {(r.subject, r.volume.modality, r.volume.shape[2]) for r in results} == {
        ("PAT-1", "ct", 5),
        ("PAT-2", "mri", 4),
    }
    (only,) = [r for r in read([tmp_path], modality="ct") if isinstance(r, Ingested)]
    assert only.subject == "PAT-1"


def test_a_copy_of_a_slice_counts_once(tmp_path: Path) -> None:
    slices = series()
    folder = write(tmp_path / "ct", slices)
    slices[2].save_as(folder / "copy.dcm")
    assert one(folder).volume.shape == (4, 6, 5)


def gap(slices: list[Dataset]) -> list[Dataset]:
    return slices[:3] + slices[4:]


def uneven(slices: list[Dataset]) -> list[Dataset]:
    for data, along in zip(slices, (0, 1, 3, 8, 10), strict=True):
        data.ImagePositionPatient = [10, 20, 30 + along]
    return slices


def tilted(slices: list[Dataset]) -> list[Dataset]:
    for i, data in enumerate(slices):
        data.ImagePositionPatient = [10, 20 + 2.5 * i, 30 + 2.5 * i]
    return slices


def time_points(slices: list[Dataset]) -> list[Dataset]:
    later = series(5, series=str(slices[0].SeriesInstanceUID))
    for i, data in enumerate(later):
        data.PixelData = voxels((6, 4), seed=i + 9).astype("<i2").tobytes()
        data.SOPInstanceUID = f"1.2.777.{i}"
    return slices + later


def each(**values: Any) -> Any:
    def change(slices: list[Dataset]) -> list[Dataset]:
        for data in slices:
            for name, value in values.items():
                setattr(data, name, value)
        return slices

    return change


def without(name: str) -> Any:
    def change(slices: list[Dataset]) -> list[Dataset]:
        for data in slices:
            delattr(data, name)
        return slices

    return change


def colour(slices: list[Dataset]) -> list[Dataset]:
    for data in slices:
        data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
    return slices


REFUSED: dict[str, tuple[Any, str]] = {
    "gap": (gap, "missing"),
    "uneven": (uneven, "evenly"),
    "tilt": (tilted, "tilted by 45 degrees"),
    "time points": (time_points, "where another one is"),
    "localizer": (each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
    "burned in": (each(BurnedInAnnotation="YES"), "burned"),
    "secondary": (each(SOPClassUID=SecondaryCaptureImageStorage), "secondary capture"),
    "screen": (each(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), "screen"),
    "inverted": (each(PhotometricInterpretation="MONOCHROME1"), "MONOCHROME2"),
    "colour": (colour, "colour"),
    "no patient": (each(PatientID=""), "PatientID"),
    "no position": (without("ImagePositionPatient"), "ImagePositionPatient"),
    "no orientation": (without("ImageOrientationPatient"), "ImageOrientationPatient"),
    "no spacing": (without("PixelSpacing"), "PixelSpacing"),
    "no pixels": (without("PixelData"), "no pixels"),
    "short pixels": (each(PixelData=bytes(20)), "decoded"),
    "bits": (each(BitsAllocated=1), "bits"),
    "skewed": (each(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "right angles"),
    "spacing 0": (each(PixelSpacing=[0, 0]), "not positive"),
    "spacing inf": (each(PixelSpacing=["1e400", "1"]), "PixelSpacing"),
    "unit": (each(RescaleType="Z_EFF"), "unit"),
    "rows 0": (each(Rows=0), "size"),
    "huge": (each(Rows=65535, Columns=65535), "more voxels|decoded"),
}


def test_what_cannot_be_one_volume_is_refused_with_its_reason(tmp_path: Path) -> None:
    import re

    for number, (name, (change, _)) in enumerate(REFUSED.items()):
        write(tmp_path / name, change(series(series=f"1.2.{number}")))
    write(tmp_path / "zz good", series(series="1.2.99"))
    results = {Path(r.source).name: r for r in read([tmp_path])}
    assert isinstance(results.pop("zz good"), Ingested)
    for name, (_, pattern) in REFUSED.items():
        found = [r for key, r in results.items() if key.startswith(name)]
        assert found, (name, list(results))
        assert isinstance(found[0], Quarantined), name
        assert re.search(pattern, is_sentence(found[0].reason)), (name, found[0].reason)


def test_padding_becomes_air(tmp_path: Path) -> None:
    slices = series()
    for data in slices:
        pixels = np.frombuffer(data.PixelData, "<i2").reshape(6, 4).copy()
        pixels[0] = -2000
        data.PixelData = pixels.tobytes()
        # Written unsigned, as many scanners do for signed pixels.
        data.add_new(0x00280120, "US", 63536)
    volume = one(write(tmp_path / "ct", slices)).volume
    assert (volume.voxels[:, -1] == -1024).all()
    assert volume.voxels[:, :-1].min() >= -1024


def test_a_scale_of_its_own_for_each_slice(tmp_path: Path) -> None:
    slices = series(3, modality="MR")
    for i, data in enumerate(slices):
        data.RescaleSlope, data.RescaleIntercept = 0.5 * (i + 1), i
    volume = one(write(tmp_path / "mr", slices)).volume
    expected = (
        voxels((3, 6, 4)) * np.array([0.5, 1, 1.5])[:, None, None] + np.arange(3)[:, None, None]
    )
    assert volume.voxels.dtype == np.float32
    assert np.allclose(volume.voxels, expected.transpose(2, 1, 0)[::-1, ::-1])


def enhanced(stack: np.ndarray) -> Dataset:
    """One multi-frame MR file, its frames in reverse order."""
    n = len(stack)
    data = slice_of(0, stack[0], modality="MR", NumberOfFrames=n, PatientID="MULTI")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    for name in (
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SliceThickness",
    ):
        delattr(data, name)

    def item(**values: Any) -> Sequence:
        dataset = Dataset()
        for name, value in values.items():
            setattr(dataset, name, value)
        return Sequence([dataset])

    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.75, 0.5], SliceThickness=2.5)
    shared.MREchoSequence = item(EffectiveEchoTime=12.5)
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for i in range(n):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[10, 20, 30 + 2.5 * (n - 1 - i)])
        frame.PixelValueTransformationSequence = item(RescaleSlope=2, RescaleIntercept=1)
        groups.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    data.PixelData = stack[::-1].astype("<i2").tobytes()
    return data


def test_enhanced_multi_frame(tmp_path: Path) -> None:
    stack = voxels((5, 6, 4))
    volume = one(write(tmp_path / "mr", [enhanced(stack)])).volume
    assert np.array_equal(volume.voxels, (stack * 2 + 1).transpose(2, 1, 0)[::-1, ::-1])
    assert volume.spacing == pytest.approx((0.5, 0.75, 2.5))
    assert volume.meta == {"slice_thickness": 2.5, "echo_time": 12.5}


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_series_equal_the_plain_one(tmp_path: Path, syntax: Any) -> None:
    plain = one(write(tmp_path / "plain", series(3, (64, 48)))).volume
    slices = series(3, (64, 48))
    for data in slices:
        data.PixelRepresentation = 0
        try:
            data.compress(syntax, generate_instance_uid=False)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            pytest.skip(f"no encoder for {syntax.name} here: {error}")
    packed = one(write(tmp_path / "packed", slices)).volume
    assert np.array_equal(plain.voxels, packed.voxels)


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm",
     "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
     "MR_small_padded.dcm", "MR_small_expb.dcm", "emri_small.dcm", "image_dfl.dcm"],
)  # fmt: skip
def test_pydicoms_own_samples(name: str, tmp_path: Path) -> None:
    found = get_testdata_file(name, download=False)
    if not found:
        pytest.skip(f"this pydicom ships no {name}")
    path = Path(shutil.copy(str(found), tmp_path / name))
    sample = pydicom.dcmread(path)
    if sample.SOPClassUID.name not in ("CT Image Storage", "MR Image Storage"):
        assert refusal(path)
        return
    volume = one(path).volume
    expected = sample.pixel_array * float(sample.get("RescaleSlope", 1)) + float(
        sample.get("RescaleIntercept", 0)
    )
    assert sorted(volume.voxels.ravel()) == sorted(np.asarray(expected).ravel())


def test_all_of_pydicoms_samples_are_answered_for(tmp_path: Path) -> None:
    """A folder of everything that reading libraries found worth keeping as a test."""
    root = Path(str(get_testdata_file("CT_small.dcm", download=False))).parent
    results = list(read([root]))
    assert any(isinstance(r, Ingested) for r in results)
    for result in results:
        if isinstance(result, Quarantined):
            is_sentence(result.reason)
