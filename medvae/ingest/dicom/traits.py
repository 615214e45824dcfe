"""What distinguishes one DICOM file from others of its series that lie at its place."""

from __future__ import annotations

import functools
import re

from pydicom.dataset import Dataset

from medvae.ingest.dicom.kinds import image_type
from medvae.ingest.dicom.values import number, private_bytes, private_number, text
from medvae.ingest.digests import digest

# Words of ImageType that say how an image was processed, not what it shows.
PROCESSING = frozenset({"M", "ND", "NORM", "DIS2D", "DIS3D", "FM", "FIL", "ADD", "MFSPLIT", "SH"})
# PS3.5 6.2, TM; colons are of ACR-NEMA.
TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2}(?:\.\d{1,6})?))?)?")
SIEMENS = 0x0019_0010, "SIEMENS MR HEADER"
GE = 0x0043_0010, "GEMS_PARM_01"
GE_SCAN = 0x0019_0010, "GEMS_ACQU_01"
UNITED = 0x0065_0010, "Image Private Header"
PHILIPS = 0x2001_0010, "Philips Imaging DD 001"
PHILIPS_MR = 0x2005_0010, "Philips MR Imaging DD 001"
# A vendor's own elements: owner, place.
SIEMENS_B_VALUE = (*SIEMENS, 0x0019_100C)
# The first of several numbers, to which GE adds a multiple of 100,000.
GE_B_VALUE, GE_ADDED = (*GE, 0x0043_1039), 100_000
DIRECTIONS = (
    (*SIEMENS, 0x0019_100E),
    *((*GE_SCAN, place) for place in (0x0019_10BB, 0x0019_10BC, 0x0019_10BD)),
    (*UNITED, 0x0065_1037),
    (*PHILIPS, 0x2001_1004),
    *((*PHILIPS_MR, place) for place in (0x2005_10B0, 0x2005_10B1, 0x2005_10B2)),
)
# Compared as they are stored.
OTHER_B_VALUES = ((*UNITED, 0x0065_1009), (*PHILIPS, 0x2001_1003))
# Read in the first pass only, beside what every pass reads.
TAGS: list[str | int] = [
    "DiffusionGradientOrientation",
    "ConvolutionKernel",
    "KVP",
    "ScanningSequence",
    "SequenceName",
    "ContrastBolusAgent",
    "ContentTime",
    "InstanceNumber",
    *sorted(
        {
            tag
            for owner, _, place in (GE_B_VALUE, *OTHER_B_VALUES, *DIRECTIONS)
            for tag in (owner, place)
        }
        - {0x0019_0010, 0x0043_0010}
    ),
]


def traits_of(header: Dataset, salt: bytes) -> list[str]:
    """A value for each of `medvae.ingest.slices.TRAITS`; words only as keyed digests."""
    words = set(image_type(header))
    return [
        digest(salt, *sorted(words - PROCESSING)),
        digest(salt, *sorted(words & PROCESSING)),
        _rounded(number(header, "EchoNumbers"), 0),
        _rounded(number(header, "EchoTime"), 2),
        _b_value(header, salt),
        _hidden(salt, _direction(header)),
        _rounded(number(header, "TemporalPositionIdentifier"), 0),
        _rounded(number(header, "InversionTime"), 1),
        _rounded(number(header, "FlipAngle"), 1),
        _hidden(salt, _sequence(header)),
        _hidden(salt, text(header, "ContrastBolusAgent")),
        _hidden(salt, text(header, "ConvolutionKernel")),
        _rounded(number(header, "KVP"), 0),
        _rounded(number(header, "SeriesNumber"), 0),
        _hidden(salt, text(header, "FrameOfReferenceUID")),
        _rounded(number(header, "AcquisitionNumber"), 0),
        _rounded(number(header, "SliceThickness"), 1),
        *times_of(header, salt),
    ]


def times_of(header: Dataset, salt: bytes) -> list[str]:
    """The last of the traits, which differ from slice to slice of one scan."""
    return times(
        number(header, "TriggerTime"),
        text(header, "AcquisitionTime"),
        text(header, "ContentTime"),
        number(header, "InstanceNumber"),
        salt,
    )


def times(
    trigger: float | None, acquired: str, content: str, counted: float | None, salt: bytes
) -> list[str]:
    """`times_of` of values that were read."""
    return [
        _rounded(trigger, 0),
        _time_of_day(acquired, salt),
        _time_of_day(content, salt),
        _rounded(counted, 0),
    ]


def _time_of_day(value: str, salt: bytes) -> str:
    """Seconds since a time of day that only the key gives; a digest of what is no time."""
    if (read := TIME.fullmatch(value)) is None:
        return _hidden(salt, value)
    hours, minutes, seconds = (float(part or 0) for part in read.groups())
    return f"{_midnight(salt) + 3600 * hours + 60 * minutes + seconds:.3f}"


@functools.lru_cache
def _midnight(salt: bytes) -> int:
    return int(digest(salt, "time of day")[:8], 16) % 86400


def _sequence(header: Dataset) -> str:
    """The pulse sequence, by which some writers alone distinguish scans of one series."""
    names = [text(header, name) for name in ("ScanningSequence", "SequenceName")]
    return "\n".join(names) if any(names) else ""


def _b_value(header: Dataset, salt: bytes) -> str:
    value: float | None = number(header, "DiffusionBValue")
    if value is None:
        value = private_number(header, *SIEMENS_B_VALUE)
    if value is None and (stored := private_bytes(header, *GE_B_VALUE)):
        first = stored.decode("latin-1").partition("\\")[0].strip(" \0")
        value = int(first) % GE_ADDED if first.isdecimal() and len(first) <= 12 else None
    if value is None:
        stored_values = (private_bytes(header, *place).hex() for place in OTHER_B_VALUES)
        return _hidden(salt, "".join(stored_values))
    return _rounded(value, 0)


def _direction(header: Dataset) -> str:
    own = [private_bytes(header, *place).hex() for place in DIRECTIONS]
    return text(header, "DiffusionGradientOrientation") or "".join(own)


def _hidden(salt: bytes, value: str) -> str:
    return digest(salt, value) if value else ""


def _rounded(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"
