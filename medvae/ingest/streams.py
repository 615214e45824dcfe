"""Exact, bounded reads from plain and gzip-compressed files."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError

CHUNK = 1 << 18
# A file may end in padding; more than this after the last voxel is something else.
MOST_TRAILING = 1 << 20
GZIP = b"\x1f\x8b"
ZEROS = re.compile(rb"\0*")
LEAST_STEP = 512

CUT_SHORT = "it ends before its header says it does: the file is truncated"


class Stream(Protocol):
    """Bytes in order, read exactly."""

    def read(self, size: int) -> npt.NDArray[np.uint8]:
        """Exactly `size` bytes. Raises InputError where there are fewer."""

    def finish(self) -> None:
        """Check what is left. Raises InputError where the file is damaged."""


def open_stream(file: BinaryIO) -> Stream:
    """A reader for the file, compressed or not as its first bytes (not its name) say.

    Raises:
        InputError: the file is empty.
    """
    start = file.read(2)
    file.seek(0)
    if not start:
        raise InputError("the file is empty")
    return Gunzip(file) if start == GZIP else Plain(file)


class Plain:
    """A file as it is, from a byte on."""

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self._file = file
        self._left = file.seek(0, io.SEEK_END) - start
        file.seek(start)

    def read(self, size: int) -> npt.NDArray[np.uint8]:
        # Compared with the file's size before memory is set aside for a claim.
        if size > self._left:
            raise InputError(CUT_SHORT)
        data = np.empty(size, np.uint8)
        view = memoryview(data.data)
        while view:
            got = self._file.readinto(view)  # type: ignore[attr-defined]
            if not got:
                raise InputError(CUT_SHORT)
            view = view[got:]
        self._left -= size
        return data

    def finish(self) -> None:
        if self._left > MOST_TRAILING:
            raise InputError("it holds more data than its header declares")


def filled(some: Callable[[int], bytes], size: int) -> npt.NDArray[np.uint8]:
    """`size` bytes; `some(most)` gives between 1 and `most` of them, none at the end.

    Raises:
        InputError: there are fewer.
    """
    data, at = np.empty(size, np.uint8), 0
    while at < size:
        piece = some(size - at)
        if not piece:
            raise InputError(CUT_SHORT)
        data[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return data


class Gunzip:
    """A gzip file, of any number of members; never unpacks more than is asked for.

    `zlib_too`: the bytes may be a zlib stream instead, as their first bytes say.
    """

    def __init__(self, file: BinaryIO, zlib_too: bool = False) -> None:
        self._file = file
        # What was read of the file, and how much of it was given to `_inflate` already, at first
        # a little of each member: what follows its end is copied.
        self._ahead, self._at, self._step = b"", 0, LEAST_STEP
        self._packed = b""
        self._ended = False
        self._inflate = zlib.decompressobj(wbits=47 if zlib_too else 31)

    def read(self, size: int) -> npt.NDArray[np.uint8]:
        return filled(self._some, size)

    def finish(self) -> None:
        """Read to the end, so that the checksum of the last member is compared."""
        left = MOST_TRAILING
        while piece := self._some(CHUNK):
            left -= len(piece)
            if left < 0:
                raise InputError("it unpacks to more data than its header declares")

    def _some(self, most: int) -> bytes:
        """Between 1 and `most` bytes; none at the end."""
        while True:
            if self._ended or (self._inflate.eof and not self._next_member()):
                return b""
            if not self._packed:
                self._packed = self._take()
                if not self._packed:
                    raise InputError("its compressed data are cut short")
            try:
                piece = self._inflate.decompress(self._packed, most)
            except zlib.error as error:
                raise InputError("its compressed data are damaged") from error
            self._packed = self._inflate.unconsumed_tail
            if piece:
                return piece

    def _next_member(self) -> bool:
        self._at -= len(self._inflate.unused_data)
        self._skip_zeros()
        if len(self._ahead) - self._at < len(GZIP):
            self._ahead, self._at = self._ahead[self._at :] + self._file.read(CHUNK), 0
            self._skip_zeros()
        # Nothing, or padding that is not gzip: the archive has ended.
        self._ended = not self._ahead.startswith(GZIP, self._at)
        self._inflate = zlib.decompressobj(wbits=31)
        self._packed, self._step = b"", LEAST_STEP
        return not self._ended

    def _take(self) -> bytes:
        """The next packed bytes, more each time; none at the end of the file."""
        if self._at == len(self._ahead):
            self._ahead, self._at = self._file.read(CHUNK), 0
        piece = self._ahead[self._at : self._at + self._step]
        self._at += len(piece)
        self._step = min(2 * self._step, CHUNK)
        return piece

    def _skip_zeros(self) -> None:
        match = ZEROS.match(self._ahead, self._at)
        self._at = match.end() if match else self._at


# A complete gzip file of nothing: leaves a decompressor at its end.
