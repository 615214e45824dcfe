"""First pass over DICOM files: what each is, and which slices belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest import channel_names, wire
from medvae.ingest.dicom import contours, segments, traits
from medvae.ingest.dicom.dimensions import scans_of
from medvae.ingest.dicom.files import (
    COUNTS,
    FRAMES,
    IDENTITY,
    PERSON,
    SCAN,
    is_dicom,
    read_dataset,
    shared_part,
)
from medvae.ingest.dicom.kinds import (
    is_doubtful,
    is_mosaic,
    marks_of,
    modality_of,
    storage_of,
    why_not,
)
from medvae.ingest.dicom.pixels import count_of
from medvae.ingest.dicom.repeated import (
    ACQUISITION_TIME,
    CONTENT_TIME,
    INSTANCE_NUMBER,
    POSITION,
    TRIGGER_TIME,
    Repeated,
    repeated,
)
from medvae.ingest.dicom.values import floats, floats_in, text, text_in, whole
from medvae.ingest.digests import digest
from medvae.ingest.nobody import bare, is_nobody, plain
from medvae.ingest.records import Limits
from medvae.ingest.slices import FARTHEST, MOST_REFERENCES
from medvae.ingest.sniffing import looks_like

FIRST_PASS = IDENTITY + SCAN + PERSON + COUNTS + traits.TAGS
REFERENCES = ["StudyInstanceUID", *segments.TAGS[2:4], contours.TAGS[2]]


def headers_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Job: files -> {"ok": [summary, ...]} in their order; one bad file spoils no other.

    A summary is {"foreign": true, "looks": what it is}, {"refused": sentence}, or what
    `medvae.ingest.slices.Slice` is made of. Its digests are keyed with the job's `salt`, so that
    nothing can be learned from them by trying names.
    """
    salt = bytes.fromhex(job["salt"])
    channels = job.get("channels") or []
    known = _Known()
    return {"ok": [_summary(file, salt, channels, known) for file in files]}, b""


@dataclass
class _Known:
    """The summary of the last slice, what it has in common with others, and how to read these.

    `has_phase`: whether it has the number of a phase.
    """

    shared: tuple[object, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    repeated: Repeated | None = None
    has_phase: bool = False


def _summary(file: BinaryIO, salt: bytes, channels: list[str], known: _Known) -> dict[str, Any]:
    try:
        if not is_dicom(file):
            return {"foreign": True, "looks": looks_like(file)}
        if known.repeated is not None:
            if (varied := known.repeated.varying(file)) is not None:
                return _following_slice(varied, salt, known)
            file.seek(0)
        header = read_dataset(file, FIRST_PASS)
        shared = shared_part(header)
        if shared is not None and shared == known.shared:
            known.repeated = repeated(file, header, FIRST_PASS, pixels=False)
            known.has_phase = _phase(header) is not None
            return _next_slice(header, salt, known.facts)
        facts = summary(header, salt, channels)
        is_slice = not facts["marks"] and not facts["whole"]
        known.shared, known.facts = (shared, facts) if is_slice else (None, {})
        known.repeated = None
        if marks_of(header):
            file.seek(0)
            marks = read_dataset(file, REFERENCES)
            facts["refers"] = _references(marks, salt)
            if frame := contours.space(marks):
                facts["space"] = digest(salt, frame)
        elif facts["whole"] and not facts["skip"]:
            file.seek(0)
            facts["scans"] = _scans(read_dataset(file, IDENTITY + FRAMES))
        return facts
    except InputError as error:
        return {"refused": str(error)}
    except RecursionError:
        return {"refused": "it is nested too deeply"}
    except MemoryError:
        return {"refused": "it needs more memory than one file is allowed"}
    except Exception as error:  # noqa: BLE001  a parser's errors cannot be listed
        return {"refused": f"it is damaged or not what it claims ({type(error).__name__})"}


def _following_slice(
    varied: dict[int, tuple[int, bytes]], salt: bytes, known: _Known
) -> dict[str, Any]:
    """`_next_slice` of what varies in a file that repeats the one before."""
    assert known.repeated is not None
    if not known.repeated.is_plain:
        return _next_slice(known.repeated.dataset(varied), salt, known.facts)
    facts, triggered = known.facts, floats_in(_value(varied, TRIGGER_TIME), 1)
    counted = floats_in(_value(varied, INSTANCE_NUMBER), 1)
    times = traits.times(
        None if triggered is None else triggered[0],
        text_in(_value(varied, ACQUISITION_TIME)),
        text_in(_value(varied, CONTENT_TIME)),
        None if counted is None else counted[0],
        salt,
    )
    # The number of a phase, which comes before its time, is the same in both.
    moment = facts["moment"] if known.has_phase else _within(triggered)
    return facts | {
        "position": _within(floats_in(_value(varied, POSITION), 3)),
        "moment": moment,
        "traits": [*facts["traits"][: -len(times)], *times],
    }


def _value(varied: dict[int, tuple[int, bytes]], tag: int) -> bytes:
    return varied[tag][1] if tag in varied else b""


def _next_slice(header: Dataset, salt: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    """The summary of a slice that has all but place and time in common with that of `facts`."""
    times = traits.times_of(header, salt)
    return facts | {
        "position": _within(floats(header, "ImagePositionPatient", 3)),
        "moment": _moment(header),
        "traits": [*facts["traits"][: -len(times)], *times],
    }


def summary(header: Dataset, salt: bytes, channels: Sequence[str] = ()) -> dict[str, Any]:
    """What the first pass keeps of a file that is DICOM (see `medvae.ingest.slices.Slice`).

    The series description is reduced to words that name a known contrast or one of `channels`,
    and left out where it has none.
    """
    frame, description = text(header, "FrameOfReferenceUID"), text(header, "SeriesDescription")
    modality = modality_of(header)
    size = [whole(header, name) or 0 for name in ("Rows", "Columns")]
    frames = whole(header, "NumberOfFrames") or 1
    study, series = text(header, "StudyInstanceUID"), text(header, "SeriesInstanceUID")
    scan = [text(header, str(name)) for name in SCAN]
    return {
        "subject": text(header, "PatientID"),
        "modality": modality.name if modality else "",
        "marks": marks_of(header),
        "refers": [],
        "skip": "" if marks_of(header) else why_not(header),
        "whole": frames > 1,
        "scans": [["", ""]] if frames > 1 else [],
        "mosaic": is_mosaic(header),
        "doubtful": is_doubtful(header),
        "key": file_key(header, salt),
        "study": digest(salt, study) if study else "",
        "series": digest(salt, study, series) if series else "",
        "alike": digest(salt, *scan),
        "size": [*size, frames],
        "spacing": _within(floats(header, "PixelSpacing", 2)),
        "orientation": _within(floats(header, "ImageOrientationPatient", 6)),
        "position": _within(floats(header, "ImagePositionPatient", 3)),
        "thickness": _within(floats(header, "SliceThickness", 1)),
        "counted": max((whole(header, str(name)) or 0 for name in COUNTS), default=0),
        "traits": traits.traits_of(header, salt),
        "person": _person(header, salt),
        "space": digest(salt, frame) if frame else "",
        "moment": _moment(header),
        "contrasts": channel_names.of_description(description, channels) if channels else [],
    }


def _moment(header: Dataset) -> list[float] | None:
    """[1] the number of a phase, else its time in the cycle; None where the header names none."""
    phase = _phase(header)
    return _within(floats(header, "TriggerTime", 1)) if phase is None else phase


def _phase(header: Dataset) -> list[float] | None:
    return _within(floats(header, "TemporalPositionIdentifier", 1))


def _scans(data: Dataset) -> list[list[str]]:
    """`scans` of a `medvae.ingest.slices.Slice`."""
    return [[scan.split_by, scan.refusal] for scan in scans_of(data, count_of(data))]


def _references(data: Dataset, salt: bytes) -> list[str]:
    """The digests of the series that an object marks, as `series` of a summary has them."""
    pairs = segments.references(data) + contours.references(data)
    return sorted({digest(salt, *pair) for pair in pairs})[:MOST_REFERENCES]


def file_key(header: Dataset, salt: bytes) -> str:
    """A keyed digest of what must not change between the first and the second pass."""
    names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
    return digest(salt, storage_of(header), *(text(header, name) for name in names))


def _person(header: Dataset, salt: bytes) -> list[str]:
    """A keyed digest for each of `medvae.ingest.slices.PERSON`, or nothing."""
    name, born, sex, issuer = (plain(text(header, str(name))) for name in PERSON)
    if is_nobody(name):
        name = ""
    if sex not in ("m", "f"):
        sex = ""
    # HL7 writes an identifier with its issuer: ID^^^ISSUER.
    identifier = bare(plain(text(header, "PatientID").partition("^")[0]))
    nobody = "nobody" if is_nobody(identifier) else ""
    facts = (name, born, sex, issuer, identifier, nobody)
    return [digest(salt, str(at), fact) if fact else "" for at, fact in enumerate(facts)]


def _within(values: list[float] | None) -> list[float] | None:
    if values is None or any(abs(value) > FARTHEST for value in values):
        return None
    return values


def directory_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Job: a DICOMDIR -> packed names, the file ids with / between their components.

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
            names.append("/".join(part.strip() for part in name.split("\\")))
    return {"ok": {}}, wire.pack_names(names)
