"""DICOM files as old and careless writers leave them: read as they mean, or refused truly."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from ingest_makers import dicomdir, one, refusal, series, voxels, write
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from medvae.ingest import Ingested, read

EXPECTED = (voxels((5, 6, 4)).astype(int) - 1024).transpose(2, 1, 0)[::-1, ::-1]


def bare(data: Dataset, *, implicit: bool, little: bool = True) -> bytes:
    """A data set alone: no preamble and no meta information."""
    if not little:
        data.PixelData = np.frombuffer(data.PixelData, "<i2").astype(">i2").tobytes()
    del data.file_meta
    out = io.BytesIO()
    dcmwrite(out, data, implicit_vr=implicit, little_endian=little)
    return out.getvalue()


def folder_of(tmp_path: Path, contents: list[bytes], suffix: str = "") -> Path:
    for number, content in enumerate(contents):
        (tmp_path / f"IM{number:04d}{suffix}").write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_files_without_meta_information_are_read(
    tmp_path: Path, implicit: bool, little: bool
) -> None:
    contents = [bare(data, implicit=implicit, little=little) for data in series()]
    assert np.array_equal(one(folder_of(tmp_path, contents)).volume.voxels, EXPECTED)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("empty", [True, False])
def test_meta_information_without_a_transfer_syntax_is_enough(
    tmp_path: Path, syntax: Any, empty: bool
) -> None:
    slices = series()
    for number, data in enumerate(slices):
        body = bare(data, implicit=syntax == ImplicitVRLittleEndian)
        meta = b"\x02\0\x02\0UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0"
        meta += b"\x02\0\x10\0UI\0\0" if empty else b""
        length = b"\x02\0\0\0UL\x04\0" + len(meta).to_bytes(4, "little")
        (tmp_path / f"{number}").write_bytes(b"\0" * 128 + b"DICM" + length + meta + body)
    assert np.array_equal(one(tmp_path).volume.voxels, EXPECTED)


def test_big_endian_is_read_as_ever(tmp_path: Path) -> None:
    slices = series()
    for data in slices:
        data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data.PixelData = np.frombuffer(data.PixelData, "<i2").astype(">i2").tobytes()
    assert np.array_equal(one(write(tmp_path / "ct", slices)).volume.voxels, EXPECTED)


def test_compressed_pixels_of_an_unnamed_kind_are_refused_as_that(tmp_path: Path) -> None:
    slices = series(1)
    slices[0].PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + bytes(40)
    content = bare(slices[0], implicit=False)
    assert "without saying how" in refusal(folder_of(tmp_path, [content]))


def test_a_class_that_was_emptied_is_taken_from_elsewhere(tmp_path: Path) -> None:
    slices = series()
    for data in slices:
        data.SOPClassUID = ""
    assert np.array_equal(one(write(tmp_path / "meta", slices)).volume.voxels, EXPECTED)
    contents = [bare(data, implicit=True) for data in slices]
    (tmp_path / "modality").mkdir()
    folder = folder_of(tmp_path / "modality", contents)
    assert np.array_equal(one(folder).volume.voxels, EXPECTED)


@pytest.mark.parametrize("suffix", [".img", ".hdr", ".IMG", ".ima", ".dcm", ""])
def test_a_file_is_dicom_by_its_content_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    folder = write(tmp_path / "ct", series())
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix(suffix))
    assert np.array_equal(one(folder).volume.voxels, EXPECTED)


@pytest.mark.parametrize(("stored", "high"), [(12, 15), (16, 11), (8, 15)])
def test_numbers_that_are_not_in_the_lowest_bits_are_refused(
    tmp_path: Path, stored: int, high: int
) -> None:
    slices = series()
    for data in slices:
        data.BitsStored, data.HighBit = stored, high
    reason = refusal(write(tmp_path / "ct", slices))
    assert reason.startswith(f"its HighBit is {high} where {stored - 1} is expected")


def padded(value: int, border: int, **more: Any) -> list[Dataset]:
    """A series whose first row is `border`, and whose padding value is declared as `value`."""
    slices = series(**more)
    for data in slices:
        pixels = np.frombuffer(data.PixelData, "<i2").reshape(6, 4).copy()
        pixels[0] = border
        data.PixelData = pixels.tobytes()
        data.add_new(0x00280120, "SS", value)
        if "RescaleIntercept" in data:
            data.RescaleIntercept = 0
    return slices


@pytest.mark.parametrize(
    ("value", "known"), [(-2000, True), (-1000, True), (3000, True), (500, False)]
)
def test_padding_that_tissue_has_too_is_left_and_told(
    tmp_path: Path, value: int, known: bool
) -> None:
    notes: list[str] = []
    folder = write(tmp_path / "ct", padded(value, value))
    (result,) = read([folder], notes=notes.append)
    assert isinstance(result, Ingested)
    border = set(np.unique(result.volume.voxels[:, -1]))
    assert border == ({-1024} if known else {value})
    inside = result.volume.voxels[:, :-1]
    assert np.array_equal(inside, (EXPECTED + 1024)[:, :-1])
    assert [note.partition(":")[0] for note in notes] == (
        []
        if known
        else [
            "volumes whose padding value is also one of tissue",
            "CT volumes without a voxel below -200 HU, though air is -1000",
        ]
    )


def test_padding_of_mri_is_told_from_tissue_by_the_rest_alone(tmp_path: Path) -> None:
    lowest = one(write(tmp_path / "low", padded(-5, -5, modality="MR"))).volume.voxels
    assert set(np.unique(lowest[:, -1])) == {0}
    middle = one(write(tmp_path / "mid", padded(20, 20, modality="MR"))).volume.voxels
    assert set(np.unique(middle[:, -1])) == {20}


def test_a_padding_value_that_no_pixel_has_is_no_matter(tmp_path: Path) -> None:
    notes: list[str] = []
    list(read([write(tmp_path / "ct", padded(1500, -1000))], notes=notes.append))
    assert notes == []


@pytest.mark.parametrize(
    ("syntax", "bits", "words"),
    [
        (JPEGExtended12Bit, 12, "cannot be decoded: damaged or truncated"),
        (MPEG2MPML, 8, "which is not supported"),
        ("1.2.3.4.5", 8, "an unknown transfer syntax"),
    ],
)
def test_a_compression_that_is_not_supported_is_named(
    tmp_path: Path, syntax: Any, bits: int, words: str
) -> None:
    slices = series(1)
    data = slices[0]
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = 0
    data.PixelData = encapsulate([b"\xff\xd8\xff\xd9" + bytes(8)])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(tmp_path / "x.dcm", implicit_vr=False, little_endian=True)
    assert words in refusal(tmp_path / "x.dcm")


# 8 x 6 numbers of 12 bits as a codestream of high-throughput JPEG 2000 (ISO/IEC 15444-15).
HIGH_THROUGHPUT = (
    "/0//UQApQAAAAAAGAAAACAAAAAAAAAAAAAAABgAAAAgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB"
    "/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAFoAAf+TwAAmg/YFB3QAAADA"
    "ABNAABMAjP4CB3QAdvADh3QAwAATQAATgDH+AMt0AB7ogQDDVADAACpgABVAmBgM5pfhC3UAmmvW/MAhAIy2AP/Z"
)
NUMBERS = np.arange(48).reshape(8, 6) * 77 % 4096


@pytest.mark.parametrize("syntax", ["201", "202", "203"])
def test_high_throughput_jpeg_2000_is_read(tmp_path: Path, syntax: str) -> None:
    (data,) = series(1, (8, 6), PixelRepresentation=0)
    frame = base64.b64decode(HIGH_THROUGHPUT)
    data.PixelData = encapsulate([frame])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    data.save_as(tmp_path / "x.dcm", implicit_vr=False, little_endian=True)
    pixels = one(tmp_path / "x.dcm").volume.voxels[::-1, ::-1, 0].T
    assert np.array_equal(pixels, NUMBERS - 1024)
    data.PixelData = encapsulate([frame[:120]])
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "x.dcm", implicit_vr=False, little_endian=True)
    assert "cannot be decoded: damaged or truncated" in refusal(tmp_path / "x.dcm")


def jpeg_of_12_bits(name: str) -> bytes:
    """A codestream of 1024 x 256 pixels that ships with pydicom."""
    data = dcmread(Path(pydicom.__file__).parent / "data/test_files" / name)
    return next(generate_frames(data.PixelData, number_of_frames=1))


def of_12_bits(frame: bytes) -> Dataset:
    (data,) = series(1)
    data.Rows, data.Columns, data.BitsStored, data.HighBit = 1024, 256, 12, 11
    data.PixelRepresentation, data.RescaleIntercept = 0, 0
    data.PixelData = encapsulate([frame])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    return data


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_extended_of_12_bits_is_read(tmp_path: Path, name: str) -> None:
    """Also where the scan's header ends at coefficient 0. The values are another decoder's
    (libjpeg-turbo of 12 bits); decoders may round differently by 1.
    """
    data = of_12_bits(jpeg_of_12_bits(name))
    data.save_as(tmp_path / "x.dcm", implicit_vr=False, little_endian=True)
    pixels = one(tmp_path / "x.dcm").volume.voxels[::-1, ::-1, 0].T
    assert pixels.shape == (1024, 256)
    assert np.abs(pixels[420, 140:146] - [244, 242, 249, 260, 218, 219]).max() <= 1
    assert pixels.max() == 264
    assert pixels.mean() == pytest.approx(14.37, abs=0.05)


def test_a_frame_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """The decoder of JPEG-LS takes it, and makes up what is missing."""
    file = Path(pydicom.__file__).parent / "data/test_files/MR_small_jpeg_ls_lossless.dcm"
    assert one(file).volume.voxels.any()
    data = dcmread(file)
    frame = next(generate_frames(data.PixelData, number_of_frames=1))
    for size in (len(frame) // 2, len(frame.rstrip(b"\0")) - 2):
        data.PixelData = encapsulate([frame[:size]])
        data.save_as(tmp_path / "x.dcm")
        assert "damaged or truncated" in refusal(tmp_path / "x.dcm")


def test_a_damaged_jpeg_is_refused(tmp_path: Path) -> None:
    """Wherever it is cut, and whatever the lengths of its segments say."""
    whole = jpeg_of_12_bits("JPEG-lossy.dcm")
    start = whole.index(b"\xff\xda")
    cases = [whole[:n] for n in (2, 3, 5, start, start + 3, start + 9, 3415, 6810)]
    # The end alone does not make an image of what has no scan.
    cases += [whole[:start] + b"\xff\xd9", whole[:start] + b"\xff\xda\xff\xd9"]
    cases += [whole[:2] + b"\xff\xe0" + bytes([a, b]) + whole[4:] for a, b in ((0, 0), (255, 255))]
    for number, frame in enumerate(cases):
        path = tmp_path / f"{number}.dcm"
        of_12_bits(frame).save_as(path, implicit_vr=False, little_endian=True)
        assert "cannot be decoded" in refusal(path)


@pytest.mark.parametrize("on_disc", [str.upper, str.lower, str.title])
@pytest.mark.parametrize("suffix", ["", ".dcm"])
def test_a_directory_finds_its_files_whatever_their_case(
    tmp_path: Path, on_disc: Callable[[str], str], suffix: str
) -> None:
    folder = tmp_path / on_disc("PAT") / on_disc("SER")
    folder.mkdir(parents=True)
    for number, data in enumerate(series()):
        name = on_disc(f"IM{number}{suffix}")
        data.save_as(folder / name, enforce_file_format=True)
    names = [["PAT", "SER", f"IM{number}{suffix.upper()}"] for number in range(5)]
    assert np.array_equal(one(dicomdir(tmp_path, names)).volume.voxels, EXPECTED)


def test_a_directory_does_not_guess_between_two_files(tmp_path: Path) -> None:
    for name in ("im0", "Im0"):
        series(1)[0].save_as(tmp_path / name, enforce_file_format=True)
    assert refusal(dicomdir(tmp_path, [["IM0"]])) == "there is no such file"
