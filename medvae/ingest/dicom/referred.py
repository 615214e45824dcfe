"""Which of several volumes a segmentation or a structure set was drawn on, by its references."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest.dicom import contours, segments
from medvae.ingest.dicom.dimensions import scans_of
from medvae.ingest.dicom.files import FRAMES, IDENTITY, read_dataset
from medvae.ingest.dicom.kinds import marks_of
from medvae.ingest.dicom.pixels import count_of
from medvae.ingest.dicom.values import text, wholes
from medvae.ingest.records import Limits

# SOP instance UID -> numbers of its frames, from 1 on; empty where no frame is named.
Sources = dict[str, set[int]]


def referred_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """Job: an object that marks a series, then images -> {"ok": {"counts": [n, ...]}}.

    `pieces` has for each volume the places of its files among the images, and which scan of its
    one file it is, or None. A count is of the images or frames of a volume that the object names.
    """
    mark = read_dataset(next(files), IDENTITY + segments.TAGS + contours.TAGS)
    sources = _sources(mark)
    scanned = {at for places, scan in job["pieces"] if scan is not None for at in places}
    named: list[list[set[int]]] = []
    plain: list[bool] = []
    for at, file in enumerate(files):
        data = read_dataset(file, IDENTITY + (FRAMES if at in scanned else []))
        frames_named = sources.get(text(data, "SOPInstanceUID"))
        plain.append(frames_named is not None)
        frames = (
            [set(scan_of_file.frames) for scan_of_file in scans_of(data, count_of(data))]
            if frames_named
            else []
        )
        named.append([{n + 1 for n in own} & (frames_named or set()) for own in frames])
    counts = []
    for places, scan in job["pieces"]:
        if scan is None:
            counts.append(sum(plain[at] for at in places))
        else:
            counts.append(sum(len(named[at][scan]) for at in places if len(named[at]) > scan))
    return {"ok": {"counts": counts}}, b""


def _sources(mark: Dataset) -> Sources:
    """The images that an object names for its frames or contours; else for itself.

    Raises:
        InputError: it is no object that marks a series.
    """
    kind = marks_of(mark)
    if not kind:
        raise InputError("its files changed while they were being read: try again")
    read = contours if kind == "contours" else segments
    frames_of_image: Sources = {}
    for item in read.sources(mark) or read.instances(mark):
        own = frames_of_image.setdefault(text(item, "ReferencedSOPInstanceUID"), set())
        own.update(wholes(item, "ReferencedFrameNumber"))
    frames_of_image.pop("", None)
    return frames_of_image
