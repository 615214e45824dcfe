"""First pass over DICOM files: what each is, and which slices belong together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydicom.dataset import Dataset

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.ingest.dicom.files import IDENTITY, is_dicom, read_dataset
from medvae.ingest.dicom.values import floats, text, whole
from medvae.ingest.records import Limits
from medvae.modality import Modality

# What is often met beside images of a modality, for the sentence that says why it was left.
OTHERS = (
    ("1.2.840.10008.5.1.4.1.1.7", "a secondary capture (a screen copy, which may show names)"),
    ("1.2.840.10008.5.1.4.1.1.88", "a structured report"),
    ("1.2.840.10008.5.1.4.1.1.104", "an encapsulated document"),
    ("1.2.840.10008.5.1.4.1.1.66", "a segmentation or registration object"),
    ("1.2.840.10008.5.1.4.1.1.481", "a radiotherapy object"),
    ("1.2.840.10008.5.1.4.1.1.11", "a presentation state"),
    ("1.2.840.10008.5.1.4.1.1.20", "a nuclear medicine image"),
    ("1.2.840.10008.5.1.4.1.1.6", "an ultrasound image"),
    ("1.2.840.10008.5.1.4.1.1.9", "a waveform"),
    ("1.2.840.10008.1.3.10", "a DICOMDIR"),
)
# Words of ImageType that mark what is not part of a volume.
NOT_VOLUMES = {
    "LOCALIZER": "it is a localizer",
    "SCOUT": "it is a localizer",
    "SCREEN SAVE": "it is a screen copy, which may show names",
    "PROJECTION IMAGE": "it is a projection, not a slice",
    "DOSE": "it is a dose report",
}
# Words of ImageType that tell apart images of one series at the same place.
KINDS = frozenset(
    {
        "M",
        "P",
        "R",
        "I",
        "PHASE",
        "MAGNITUDE",
        "REAL",
        "IMAGINARY",
        "W",
        "F",
        "IP",
        "OP",
        "WATER",
        "FAT",
        "IN_PHASE",
        "OUT_PHASE",
        "ADC",
    }
)


def headers_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Job: files -> {"ok": [summary, ...]} in their order; one bad file spoils no other.

    A summary is {"foreign": true}, {"refused": sentence}, or {"key", "subject", "modality",
    "skip": sentence or ""}; files of equal key make one volume.
    """
    return {"ok": [_summary(file) for file in files]}, b""


def _summary(file: BinaryIO) -> dict[str, Any]:
    try:
        if not is_dicom(file):
            return {"foreign": True}
        header = read_dataset(file, IDENTITY)
        return {
            "key": series_key(header),
            "subject": text(header, "PatientID"),
            "modality": one.name if (one := modality_of(header)) else "",
            "skip": why_not(header),
        }
    except InputError as error:
        return {"refused": str(error)}
    except RecursionError:
        return {"refused": "it is nested too deeply"}
    except MemoryError:
        return {"refused": "it needs more memory than one file is allowed"}
    except Exception as error:  # noqa: BLE001  a parser's errors cannot be listed
        return {"refused": f"it is damaged or not what it claims ({type(error).__name__})"}


def modality_of(header: Dataset) -> Modality | None:
    """The modality whose images have this storage class (PS3.4 B.5), or None."""
    storage = text(header, "SOPClassUID")
    return next((one for one in modalities.registered() if storage in one.dicom.read), None)


def _foreign(storage: str) -> str:
    """Why a storage class that no modality reads is left."""
    beginnings = [*OTHERS, *(two for one in modalities.registered() for two in one.dicom.refused)]
    known = [pair for pair in beginnings if storage.startswith(pair[0])]
    # The longest is the most exact.
    what = max(known, key=lambda pair: len(pair[0]), default=("", "not an image"))[1]
    read = [one.dicom.modality for one in modalities.registered() if one.dicom.read]
    return f"it is {what}: expected {', '.join(read[:-1])} or {read[-1]} image storage"


def why_not(header: Dataset) -> str:
    """Why a file cannot be part of a volume; empty if it can."""
    if modality_of(header) is None:
        return _foreign(text(header, "SOPClassUID"))
    words = image_type(header)
    for word, reason in NOT_VOLUMES.items():
        if any(word in w for w in words):
            return reason
    if text(header, "BurnedInAnnotation").upper() == "YES":
        return "it says that text is burned into the picture, which may name the patient"
    if (whole(header, "SamplesPerPixel") or 1) != 1:
        return "it is a colour image: expected one grey value a voxel"
    photometric = text(header, "PhotometricInterpretation").upper()
    if photometric != "MONOCHROME2":
        return "its grey scale is not MONOCHROME2 (dark is low): convert it first"
    return ""


def series_key(header: Dataset) -> str:
    """A digest that is equal for the slices of one volume, and reveals nothing about it."""
    orientation = floats(header, "ImageOrientationPatient", 6)
    plane = -1
    if orientation:
        (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
        normal = [abs(b * f - c * e), abs(c * d - a * f), abs(a * e - b * d)]
        plane = normal.index(max(normal))
    storage = text(header, "SOPClassUID")
    frames = whole(header, "NumberOfFrames") or 1
    parts = [
        text(header, "PatientID"),
        text(header, "StudyInstanceUID"),
        text(header, "SeriesInstanceUID"),
        storage,
        text(header, "SOPInstanceUID") if frames > 1 else "",
        why_not(header),
        whole(header, "Rows"),
        whole(header, "Columns"),
        plane,
        text(header, "EchoNumbers") or text(header, "EchoTime"),
        text(header, "DiffusionBValue"),
        text(header, "TemporalPositionIdentifier"),
        sorted(KINDS.intersection(image_type(header))),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def image_type(header: Dataset) -> list[str]:
    """The words of ImageType."""
    return [word.strip().upper() for word in text(header, "ImageType").split("\\")]


def directory_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Job: a DICOMDIR -> {"ok": [[component, ...], ...]}, the file ids as they are written.

    Nothing is resolved here: the reader decides which of them may be opened.
    """
    file = next(files)
    if not is_dicom(file):
        raise InputError("it is not a DICOMDIR")
    listing = read_dataset(file, ["DirectoryRecordSequence"])
    names = []
    for record in listing.get("DirectoryRecordSequence") or []:
        name = text(record, "ReferencedFileID")
        if name:
            names.append([part.strip() for part in name.split("\\")])
    return {"ok": names}, b""
