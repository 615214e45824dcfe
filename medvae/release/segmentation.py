"""A label map as DICOM SEG: one binary segmentation object over a series (PS3.3 A.51, C.8.20).

One segment a label of the scheme, numbered from 1 without a gap as DICOM wants it, named as the
scheme names it, and coded by SNOMED CT where `segment_codes` knows the structure. Frames that would
be empty are left out. It refers to every slice that a frame is of, and is in the same frame of
reference, so that viewers show it over the series. Written with pydicom alone: equal masks give
equal bytes, with no time and no random UID in them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae.release.dicom import Slices, decimal, drawn_on, item, uid
from medvae.release.dicom_files import (
    element,
    encoded,
    reference,
    sequence,
    uid_element,
    write_object,
)
from medvae.release.segment_codes import Code, coded
from medvae.release.tables import VERSION

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
_LONGEST = 64
_ANATOMY = Code("SCT", "91723000", "Anatomical Structure")
_SEGMENTED = Code("DCM", "113076", "Segmentation")
_SOURCE = Code("DCM", "121322", "Source image for image processing operation")


def write_segmentation(
    path: Path, slices: Slices, mask: npt.NDArray[np.uint8], labels: Mapping[str, str]
) -> None:
    """Write the object.

    Args:
        path: a file that is not there.
        slices: of the series.
        mask: [X, Y, Z] numbers of the scheme, columns and rows as in the slices.
        labels: number in the mask (as text) -> name; each is a segment.
    """
    first = slices.shared
    dataset, root = drawn_on(slices, mask, labels, STORAGE, "segmentation")
    _say_what(dataset, mask.shape, first)
    dataset.SegmentSequence = [
        _segment(place, number, name) for place, (number, name) in enumerate(labels.items(), 1)
    ]
    organisation = uid("dimensions", *root)
    dataset.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organisation)]
    dataset.DimensionIndexSequence = [
        _dimension(organisation, 0x0062000B, 0x0062000A),
        _dimension(organisation, 0x00200032, 0x00209113),
    ]
    frames, pixels = _frames(slices, mask, [int(number) for number in labels])
    dataset.NumberOfFrames = len(frames)
    dataset.SharedFunctionalGroupsSequence = [_shared(first)]
    bits = np.packbits(pixels, bitorder="little").tobytes()
    dataset.PixelData = bits + b"\0" * (len(bits) % 2)
    dataset["PixelData"].VR = "OB"
    instances = sequence(
        "ReferencedInstanceSequence", [reference(first, source) for source in slices.own]
    )
    series = instances + uid_element("SeriesInstanceUID", str(first.SeriesInstanceUID))
    more = {
        "PerFrameFunctionalGroupsSequence": sequence("PerFrameFunctionalGroupsSequence", frames),
        "ReferencedSeriesSequence": sequence("ReferencedSeriesSequence", [series]),
    }
    write_object(path, dataset, more)


def _say_what(dataset: Dataset, shape: tuple[int, ...], first: Dataset) -> None:
    dataset.Modality = "SEG"
    dataset.SeriesNumber = 2
    dataset.InstanceNumber = 1
    dataset.DeviceSerialNumber = "1"
    dataset.ContentDate = first.ContentDate or "19000101"
    dataset.ContentTime = first.ContentTime or "000000"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "SEGMENTATION"
    dataset.ContentDescription = "Labels generated together with the image"
    dataset.ContentCreatorName = "medvae"
    dataset.SegmentationType = "BINARY"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Columns, dataset.Rows = shape[0], shape[1]
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = "00"


def _segment(place: int, number: str, name: str) -> Dataset:
    kind, side = coded(number, name)
    described = _code(kind)
    if side is not None:
        described.SegmentedPropertyTypeModifierCodeSequence = [_code(side)]
    return item(
        SegmentNumber=place,
        SegmentLabel=name[:_LONGEST].replace("\\", "/"),
        SegmentDescription=f"label {number} of the scheme",
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName=f"medvae {VERSION}",
        SegmentedPropertyCategoryCodeSequence=[_code(_ANATOMY)],
        SegmentedPropertyTypeCodeSequence=[described],
    )


def _frames(
    slices: Slices, mask: npt.NDArray[np.uint8], numbers: Sequence[int]
) -> tuple[list[bytes], npt.NDArray[np.bool_]]:
    """The functional groups of each frame, encoded, and [frames * rows * columns] its bits."""
    # A slice shows several labels: what is said of it is made once.
    sources = cache(lambda index: _source(slices.shared, slices.own[index]))
    groups, bits = [], []
    for place, number in enumerate(numbers, 1):
        inside = mask == number
        for index in np.flatnonzero(inside.any(axis=(0, 1))).tolist():
            groups.append(_frame(sources(index), place, index))
            bits.append(inside[:, :, index].T.ravel())
    if not groups:
        # An object has one frame at least.
        groups, bits = [_frame(sources(0), 1, 0)], [np.zeros(mask[:, :, 0].size, np.bool_)]
    return groups, np.concatenate(bits)


def _source(shared: Dataset, source: Dataset) -> tuple[bytes, bytes]:
    """Elements of a frame that its slice gives: the source image, and the position."""
    image = sequence("SourceImageSequence", [reference(shared, source) + _purpose()])
    where = "\\".join(map(str, source.ImagePositionPatient)).encode("ascii")
    position = element("ImagePositionPatient", b"DS", where, b" ")
    return (
        sequence("DerivationImageSequence", [image + _derivation()]),
        sequence("PlanePositionSequence", [position]),
    )


@cache
def _purpose() -> bytes:
    return encoded(
        item(
            PurposeOfReferenceCodeSequence=[_code(_SOURCE)],
            SpatialLocationsPreserved="YES",
        )
    )


@cache
def _derivation() -> bytes:
    return encoded(item(DerivationCodeSequence=[_code(_SEGMENTED)]))


def _frame(source: tuple[bytes, bytes], place: int, index: int) -> bytes:
    """The elements of a frame's item, in the order of their tags."""
    derived, position = source
    content = element("DimensionIndexValues", b"UL", struct.pack("<LL", place, index + 1))
    return (
        derived
        + sequence("FrameContentSequence", [content])
        + position
        + sequence("SegmentIdentificationSequence", [_segment_number(place)])
    )


@cache
def _segment_number(place: int) -> bytes:
    return encoded(item(ReferencedSegmentNumber=place))


def _shared(first: Dataset) -> Dataset:
    measures = item(
        SliceThickness=first.SliceThickness,
        SpacingBetweenSlices=decimal(float(first.SliceThickness)),
        PixelSpacing=first.PixelSpacing,
    )
    orientation = item(ImageOrientationPatient=first.ImageOrientationPatient)
    return item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])


def _dimension(organisation: str, pointer: int, group: int) -> Dataset:
    return item(
        DimensionOrganizationUID=organisation,
        DimensionIndexPointer=pointer,
        FunctionalGroupPointer=group,
    )


def _code(code: Code) -> Dataset:
    return item(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)
