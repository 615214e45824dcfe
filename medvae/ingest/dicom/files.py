"""Opening a DICOM file: which elements are read at all, and bounds before any is."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

from pydicom import config
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from medvae.errors import InputError

# Values are checked where they are used; pydicom's own checks warn by quoting them.
config.settings.reading_validation_mode = config.IGNORE

MARK = b"DICM"
META_LENGTH = b"\x02\0\0\0"
DEFLATED = b"1.2.840.10008.1.2.1.99"
MOST_INFLATED = 1 << 29
HEAD = 1 << 16
PIXELS = frozenset({0x7FE0_0008, 0x7FE0_0009, 0x7FE0_0010})

# Attributes that say what a file is, to which series it belongs, and at which place.
IDENTITY: list[str | int] = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "ImageType",
    "ComplexImageComponent",
    "BurnedInAnnotation",
    "ConversionType",
    "PhotometricInterpretation",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "BitsAllocated",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SliceThickness",
    "EchoNumbers",
    "EchoTime",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "InversionTime",
    "FlipAngle",
    "AcquisitionNumber",
    "TriggerTime",
    "AcquisitionTime",
    # Siemens: owner, b-value. GE: owner, part of the complex signal.
    0x0019_0010,
    0x0019_100C,
    0x0043_0010,
    0x0043_102F,
]
# Read in the first pass only, for keyed digests: what one scan shares, whose it is.
SCAN: list[str | int] = ["FrameOfReferenceUID", "SeriesNumber", "SeriesDescription", "ProtocolName"]
# How many slices there should be; PET has an element of its own.
COUNTS: list[str | int] = ["ImagesInAcquisition", "NumberOfSlices"]
PERSON: list[str | int] = ["PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"]
# Of each frame of an enhanced image: its place, and what else distinguishes it.
FRAMES: list[str | int] = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
# Of each overlay: bits of a number that holds it, and which bit of them it is.
OVERLAYS = [(Tag(group, 0x0100), Tag(group, 0x0102)) for group in range(0x6000, 0x6020, 2)]
# What a volume is made of: pixels, geometry, scale, and the allow-listed description.
CONTENT: list[str | int] = [
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    *(tag for pair in OVERLAYS for tag in pair),
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PlanarConfiguration",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "Units",
    "SUVType",
    "CorrectedImage",
    "RealWorldValueMappingSequence",
    "ModalityLUTSequence",
    "SpacingBetweenSlices",
    # Siemens: number of images in a mosaic, owner and content of its own header.
    0x0019_100A,
    0x0029_0010,
    0x0029_1010,
    *FRAMES,
    "RepetitionTime",
    "MagneticFieldStrength",
    "KVP",
    "ConvolutionKernel",
]
# Of the file meta information, what the reading depends on.
OF_META = frozenset(map(Tag, ("MediaStorageSOPClassUID", "TransferSyntaxUID")))
DEMOGRAPHICS: list[str | int] = ["PatientAge", "PatientSex"]


CHARACTER_SET = Tag("SpecificCharacterSet")
# What differs from slice to slice of one scan.
VARYING = frozenset(
    map(
        Tag,
        (
            "SOPInstanceUID",
            "ImagePositionPatient",
            "AcquisitionTime",
            "ContentTime",
            "InstanceNumber",
            "TriggerTime",
            "PixelData",
        ),
    )
)


def shared_part(data: Dataset) -> tuple[object, ...] | None:
    """All that was read of a file but what `VARYING` names, as it is stored.

    Files of which it is equal have all else in common. None where it cannot be compared cheaply: an
    element was decoded already, or holds items. To be asked before any value of `data` is.
    """
    stored: list[tuple[object, ...]] = []
    varying = []
    for tag, element in data.items():
        if tag == CHARACTER_SET and not isinstance(element, RawDataElement):
            stored.append((tag, element.VR, str(element.value)))  # pydicom looks at it itself
        elif not isinstance(element, RawDataElement):
            return None
        elif tag in VARYING:
            varying.append(tag)
        else:
            stored.append((tag, element.VR, element.value))
    meta = [(tag, str(element.value)) for tag, element in data.file_meta.items() if tag in OF_META]
    return stored, varying, meta, data.original_encoding


def is_dicom(file: BinaryIO) -> bool:
    """Whether the first bytes are those of DICOM, with or without the 128-byte preamble."""
    start = file.read(132)
    file.seek(0)
    if start[128:] == MARK:
        return True
    # Without the preamble, the data begin with group 0002 or 0008 and a small element.
    group, element = start[:2], start[2:4]
    return (
        group in (b"\x02\x00", b"\x08\x00", b"\x00\x08")
        and element[:1] <= b"\x18"
        and (start[4:6].isalpha() or start[6:8] == b"\0\0")
    )


def read_dataset(file: BinaryIO, tags: Sequence[str | int], *, pixels: bool = False) -> Dataset:
    """The named elements of a file; the rest is skipped without being kept.

    Raises:
        InputError: not DICOM, damaged, or compressed beyond bounds; an element is there twice.
    """
    _check_deflated(file)
    elements: list[Any] = as_tags(tuple(tags))
    try:
        return read_partial(file, _Watch(elements, pixels), force=True, specific_tags=elements)
    except (InvalidDicomError, EOFError) as error:
        raise InputError("it is not a whole DICOM file: truncated or damaged") from error


class _Watch:
    """Stops the reading before pixels that are not wanted, and at an element that is there twice.

    pydicom would silently keep the last one: a second patient, a second scale.
    """

    def __init__(self, tags: Sequence[BaseTag], pixels: bool) -> None:
        self._left = {int(tag) for tag in tags}
        self._wanted = frozenset(self._left)
        self._pixels = pixels

    def __call__(self, tag: BaseTag, kind: str | None, length: int) -> bool:
        number = int(tag)
        if number in self._left:
            # pydicom may look at the first element once before, and says then that it is empty.
            if length or len(self._left) < len(self._wanted):
                self._left.remove(number)
        elif number in self._wanted:
            name = keyword_for_tag(number) or f"the element {tag}"
            raise InputError(f"its header gives {name} twice: export it again")
        return not self._pixels and number in PIXELS


@functools.cache
def as_tags(tags: tuple[str | int, ...]) -> list[BaseTag]:
    """As pydicom would look them up again for each file."""
    return [Tag(tag) for tag in tags]


def _check_deflated(file: BinaryIO) -> None:
    """Measure a deflated data set in bounded memory before pydicom inflates it all at once."""
    head = file.read(HEAD)
    begin = 144 + int.from_bytes(head[140:144], "little")
    if head[128:136] == MARK + META_LENGTH and begin > HEAD:
        raise InputError("its file meta information is impossibly long")
    if DEFLATED in head and head[128:132] == MARK:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        file.seek(begin)
        total = 0
        packed = file.read(HEAD)
        try:
            while packed and not inflate.eof:
                total += len(inflate.decompress(packed, 1 << 24))
                if total > MOST_INFLATED:
                    raise InputError(f"it unpacks to more than {MOST_INFLATED} bytes")
                packed = inflate.unconsumed_tail or file.read(HEAD)
        except zlib.error as error:
            raise InputError("its compressed data are damaged") from error
    file.seek(0)
