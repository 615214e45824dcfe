"""The slices of one volume, read file by file; what repeats the one before is not parsed again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest import contents
from medvae.ingest.dicom import whole
from medvae.ingest.dicom.files import CONTENT, DEMOGRAPHICS, IDENTITY, read_dataset, shared_part
from medvae.ingest.dicom.following import Following
from medvae.ingest.dicom.frames import Frame, frame_like, frames_of
from medvae.ingest.dicom.headers import file_key
from medvae.ingest.dicom.kinds import is_mosaic, modality_of, notes_of, why_not
from medvae.ingest.dicom.repeated import repeated
from medvae.ingest.dicom.values import number
from medvae.ingest.records import Limits
from medvae.modality.base import Modality

CHANGED = "its files changed while they were being read: try again"


def read_slices(
    job: dict[str, Any], files: Iterable[BinaryIO], limits: Limits, notes: set[str]
) -> tuple[list[Frame], Dataset, Modality]:
    """The slices of all files in their order, the first file's header, and the modality.

    Args:
        job: as of `series.series_job`.
        notes: receives kinds of `medvae.ingest.notices`.

    Raises:
        InputError: there is no file, or one is not what the job says, or cannot be read.
    """
    reader = _Reader(job, limits, notes)
    for file in files:
        reader.add(file)
    if reader.first is None or reader.modality is None:
        raise InputError("it has no files")
    return reader.frames, reader.first, reader.modality


class _Reader:
    """Collects slices.

    Attributes:
        first: the header of the first file: without its pixels, unless it holds several scans.
    """

    def __init__(self, job: dict[str, Any], limits: Limits, notes: set[str]) -> None:
        self.frames: list[Frame] = []
        self.first: Dataset | None = None
        self.modality: Modality | None = None
        self._job, self._limits, self._notes = job, limits, notes
        self._is_one_of_several = "scan" in job
        self._tags = IDENTITY + CONTENT + (DEMOGRAPHICS if job["keep_demographics"] else [])
        self._salt, self._keys = bytes.fromhex(job["salt"]), set(job["keys"])
        self._room = limits.voxels
        # Of the last file that was parsed as a whole: what the next one may have in common.
        self._shared: tuple[object, ...] | None = None
        self._following: Following | None = None

    def add(self, file: BinaryIO) -> None:
        """Read the slices of the next file. Raises InputError."""
        if self._following is not None:
            frame = self._following.frame(file, self.frames[-1], self._room)
            if frame is not None:
                self._keep(frame)
                return
        file.seek(0)
        if self._is_one_of_several:
            self._add_parsed(whole.opened(file, self._tags), None)
            return
        data = read_dataset(file, self._tags, pixels=True)
        shared = shared_part(data)
        if shared is not None and shared == self._shared:
            next_by = repeated(file, data, self._tags, pixels=True)
            self._following = None if next_by is None else Following(next_by, data)
            self._keep(frame_like(self.frames[-1], data, self._room))
            return
        self._add_parsed(data, shared)

    def _keep(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._room -= frame.pixels.size

    def _add_parsed(self, data: Dataset, shared: tuple[object, ...] | None) -> None:
        if why_not(data) or file_key(data, self._salt) not in self._keys:
            raise InputError(CHANGED)
        self.modality = modality_of(data)
        assert self.modality is not None, "why_not has refused it"
        self._notes.update(notes_of(data))
        own = _frames_of_scan(self._job, data) if self._is_one_of_several else None
        self.frames.extend(frames_of(data, self._room, self.modality, own))
        _check_depth(data, self.frames[-1], self.modality)
        self._shared, self._following = None if is_mosaic(data) else shared, None
        self._room = self._limits.voxels - len(self.frames) * self.frames[0].pixels.size
        if self.first is None:
            self.first = data if self._is_one_of_several else _without_pixels(data)


def _frames_of_scan(job: dict[str, Any], data: Dataset) -> tuple[int, ...] | None:
    """Which frames of an image are of the scan that was asked for; None for all."""
    scans = whole.scans(data)
    if len(scans) != job["scans"] or scans[int(job["scan"])].refusal:
        raise InputError(CHANGED)
    return scans[int(job["scan"])].frames


def _check_depth(data: Dataset, frame: Frame, modality: Modality) -> None:
    """Refuse CT of so few bits that they hold no Hounsfield units of a body. Raises InputError."""
    bits = number(data, "BitsStored")
    if modality.name == "ct" and bits and 0 < abs(frame.slope) * 2**bits < contents.LEAST_DEPTH_HU:
        raise InputError(
            f"its pixels have {bits:g} bits, which hold {abs(frame.slope) * 2**bits:g} HU, less "
            "than there are from air to bone: it is a picture of a window; give the original"
        )


def _without_pixels(data: Dataset) -> Dataset:
    if "PixelData" in data:
        del data.PixelData
    return data
