"""A file that repeats the one before is read to what pydicom reads of it, or left to pydicom."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from ingest_makers import series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.ingest.dicom.files import CONTENT, IDENTITY, read_dataset, shared_part
from medvae.ingest.dicom.repeated import Repeated, repeated

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel warns of its reader of Siemens headers
    from medvae.ingest.dicom import headers
    from medvae.ingest.dicom.following import Following
    from medvae.ingest.dicom.frames import Frame, frame_like, frames_of
    from medvae.ingest.dicom.headers import FIRST_PASS

SALT = bytes(32)
FORMS = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}
PASSES: dict[str, tuple[Sequence[str | int], bool]] = {
    "headers": (FIRST_PASS, False),
    "pixels": (IDENTITY + CONTENT, True),
}


def files(syntax: str = ExplicitVRLittleEndian, unknown_length: bool = True) -> list[bytes]:
    """Three slices with what scanners add: other characters, empty values, items."""
    made = []
    for number, data in enumerate(series(3, InstitutionName="Spital", EchoTime=None)):
        data.SpecificCharacterSet, data.PatientName = "ISO_IR 100", "Müller"
        data.InstanceNumber, data.AcquisitionTime = "1" * (number + 1), ""
        inner, item = Dataset(), Dataset()
        inner.CodeValue, item.ConceptNameCodeSequence = "1", Items([inner])
        inner.is_undefined_length_sequence_item = item.is_undefined_length_sequence_item = True
        data.DeidentificationMethodCodeSequence = Items([item])
        data["DeidentificationMethodCodeSequence"].is_undefined_length = unknown_length
        item["ConceptNameCodeSequence"].is_undefined_length = unknown_length
        data.file_meta.TransferSyntaxUID = syntax
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        made.append(buffer.getvalue())
    return made


def known(file: bytes, tags: Sequence[str | int], pixels: bool) -> Repeated | None:
    opened = io.BytesIO(file)
    return repeated(opened, read_dataset(opened, tags, pixels=pixels), tags, pixels=pixels)


def contents(data: Dataset) -> list[tuple[Any, ...]]:
    return [(tag, e.VR, e.value or None, str(e.value)) for tag, e in data.items()]


@pytest.mark.parametrize("unknown_length", [True, False])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("form", FORMS)
def test_the_next_slices_are_read_as_pydicom_reads_them(
    form: str, which: str, unknown_length: bool
) -> None:
    tags, pixels = PASSES[which]
    first, *others = files(FORMS[form], unknown_length)
    before = known(first, tags, pixels)
    assert before is not None
    for other in others:
        found, theirs = before.read(io.BytesIO(other)), io.BytesIO(other)
        assert found is not None
        expected = read_dataset(theirs, tags, pixels=pixels)
        assert contents(found) == contents(expected)
        assert found.ImagePositionPatient == expected.ImagePositionPatient
        assert shared_part(before.read(io.BytesIO(other))) is not None
        if pixels:
            np.testing.assert_array_equal(found.pixel_array, expected.pixel_array)


@pytest.mark.parametrize("unknown_length", [True, False])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("form", FORMS)
def test_whatever_is_changed_is_read_as_pydicom_reads_it_or_left_to_pydicom(
    form: str, which: str, unknown_length: bool
) -> None:
    tags, pixels = PASSES[which]
    first, other, _ = files(FORMS[form], unknown_length)
    before = known(first, tags, pixels)
    assert before is not None
    assert before.read(io.BytesIO(other)) is not None
    assert bool(before._forms) is not unknown_length
    shared = shared_part(read_dataset(io.BytesIO(first), tags, pixels=pixels))
    draw, taken, left = np.random.default_rng(0), 0, 0
    for _ in range(1500):
        changed = mutated(other, draw)
        found = before.read(io.BytesIO(changed))
        if found is None:
            left += 1
            continue
        taken += 1
        expected = read_dataset(io.BytesIO(changed), tags, pixels=pixels)
        assert shared_part(found) == shared_part(expected) == shared
        assert contents(found) == contents(expected)
    assert min(taken, left) > 100


@pytest.mark.parametrize("form", FORMS)
def test_what_is_taken_of_a_slice_is_what_its_data_set_gives(form: str) -> None:
    first, other, _ = files(FORMS[form], unknown_length=False)
    of_headers, of_pixels = (known(first, *PASSES[which]) for which in ("headers", "pixels"))
    assert of_headers is not None
    assert of_pixels is not None
    header, data = (read_dataset(io.BytesIO(first), tags, pixels=p) for tags, p in PASSES.values())
    last = headers._Known(facts=headers.summary(header, SALT), repeated=of_headers)
    (frame,) = frames_of(data, 10**6, modalities.get("ct"))
    following, draw, equal = Following(of_pixels, data), np.random.default_rng(1), 0
    for _ in range(1000):
        changed = mutated(other, draw)
        if (found := of_headers.varying(io.BytesIO(changed))) is not None:
            theirs = read_dataset(io.BytesIO(changed), FIRST_PASS)
            assert headers._following_slice(found, SALT, last) == headers._next_slice(
                theirs, SALT, last.facts
            )
        data_set = of_pixels.read(io.BytesIO(changed))
        ours = outcome(lambda opened: following.frame(opened, frame, 10**6), io.BytesIO(changed))
        if data_set is None:
            assert ours == "None"
            continue
        assert ours == outcome(lambda data: frame_like(frame, data, 10**6), data_set)
        equal += not ours.startswith("its")
    assert equal > 100


def outcome(read: Callable[[Any], Frame | None], given: object) -> str:
    """A frame in words, or what is wrong with it."""
    try:
        frame = read(given)
        return "None" if frame is None else f"{frame.position} {frame.pixels.tobytes().hex()}"
    except InputError as error:
        return str(error)


def mutated(file: bytes, draw: np.random.Generator) -> bytes:
    """A file with a few bytes of its header changed, cut out, doubled or put in; or cut short."""
    data = bytearray(file)
    for _ in range(int(draw.integers(1, 3))):
        at, size = int(draw.integers(132, len(data) - 60)), int(draw.integers(1, 24))
        how = int(draw.integers(6))
        if how <= 1:
            data[at] = int(draw.integers(256))
        elif how == 2:
            data[at] ^= 1 << int(draw.integers(8))
        elif how == 3:
            del data[at : at + size]
        elif how == 4:
            data[at:at] = data[at : at + size]
        else:
            del data[-size:]
    return bytes(data)


def test_an_element_that_is_there_twice_is_left_to_pydicom_which_refuses_it() -> None:
    first, other, _ = files()
    before = known(first, FIRST_PASS, False)
    assert before is not None
    at = other.index(b"\x10\x00\x20\x00LO")
    end = at + 8 + int.from_bytes(other[at + 6 : at + 8], "little")
    twice = other[:end] + other[at:end] + other[end:]
    assert before.read(io.BytesIO(twice)) is None
    with pytest.raises(InputError, match="PatientID twice"):
        read_dataset(io.BytesIO(twice), FIRST_PASS)


def test_bytes_behind_pixels_and_pixels_of_another_size_are_left_to_pydicom() -> None:
    tags, pixels = PASSES["pixels"]
    first, other, _ = files()
    before = known(first, tags, pixels)
    assert before is not None
    assert before.read(io.BytesIO(other + other[132:160])) is None
    assert before.read(io.BytesIO(other[:-2])) is None
    assert before.read(io.BytesIO(other)) is not None


def test_other_forms_are_left_to_pydicom() -> None:
    without_preamble = io.BytesIO(files()[0][132:])
    data = read_dataset(without_preamble, FIRST_PASS)
    assert repeated(without_preamble, data, FIRST_PASS, pixels=False) is None
    big = Dataset()
    big.set_original_encoding(False, False)
    assert repeated(io.BytesIO(), big, FIRST_PASS, pixels=False) is None
