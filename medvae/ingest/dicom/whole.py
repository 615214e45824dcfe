"""An image of several scans, parsed once for all of them.

Each scan is a job of its own, and a header of thousands of frames takes longer to parse than the
pixels of one scan. The reading process keeps what it has parsed as long as the same file comes.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset

from medvae.ingest.dicom import dimensions
from medvae.ingest.dicom.files import read_dataset
from medvae.ingest.dicom.pixels import count_of


@dataclass
class _Kept:
    identity: tuple[object, ...] = ()
    data: Dataset | None = None
    scans: list[dimensions.FrameScan] | None = None


_kept = _Kept()


def opened(file: BinaryIO, tags: Sequence[str | int]) -> Dataset:
    """As `files.read_dataset`, pixels included; of the file before, what was parsed of it.

    The caller must not change it.
    """
    identity = (*_identity(file), *tags)
    if _kept.data is None or _kept.identity != identity:
        # Let go of the one before the next is read.
        _kept.data, _kept.scans, _kept.identity = None, None, ()
        _kept.data, _kept.identity = read_dataset(file, tags, pixels=True), identity
    return _kept.data


def scans(data: Dataset) -> list[dimensions.FrameScan]:
    """The scans of an image that `opened` gave.

    Raises:
        InputError: its number of frames is impossible.
    """
    if data is not _kept.data:
        return dimensions.scans_of(data, count_of(data))
    if _kept.scans is None:
        _kept.scans = dimensions.scans_of(data, count_of(data))
    return _kept.scans


def _identity(file: BinaryIO) -> tuple[object, ...]:
    """What another file, or the same one after a change, does not have."""
    if isinstance(file, io.BytesIO):
        with file.getbuffer() as content:
            return ("content", hashlib.sha256(content).digest())
    facts = os.fstat(file.fileno())
    return ("file", facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
