"""Voxels as NRRD may keep them besides raw and gzip: numbers in text, hexadecimal text, bzip2.

Each reads no more of a file than so many voxels can take, and gives the bytes that raw voxels
would have.
"""

from __future__ import annotations

import binascii
import bz2
import warnings
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError
from medvae.ingest.streams import CHUNK, CUT_SHORT, MOST_TRAILING, filled

# A number in text takes at most so many characters, white space after it included.
MOST_CHARACTERS = 40
SPACES = b" \t\r\n\v\f"
TOO_LONG = "it holds more data than its header declares"


class Memory:
    """Bytes that were decoded already."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self._data, self._at = data, 0

    def read(self, size: int) -> npt.NDArray[np.uint8]:
        piece = self._data[self._at : self._at + size]
        if len(piece) < size:
            raise InputError(CUT_SHORT)
        self._at += size
        return piece

    def finish(self) -> None:
        if self._at < len(self._data):
            raise InputError(TOO_LONG)


def from_text(file: BinaryIO, kind: np.dtype[Any], count: int) -> Memory:
    """`count` numbers, separated by white space, as voxels of type `kind`.

    Raises:
        InputError: they are fewer or more, no numbers, or beyond the type.
    """
    text = _bounded(file, count * MOST_CHARACTERS)
    wide = np.dtype(np.float64) if kind.kind == "f" else np.dtype(f"{kind.kind}8")
    try:
        with warnings.catch_warnings():
            # What is no number ends the reading with a warning.
            warnings.simplefilter("error")
            numbers = np.fromstring(text.strip(SPACES).decode("ascii"), wide, sep=" ")
    except (UnicodeDecodeError, ValueError, DeprecationWarning, OverflowError) as error:
        raise InputError(f"its voxels are not all numbers of type {kind.name}") from error
    if numbers.size != count:
        raise InputError(CUT_SHORT if numbers.size < count else TOO_LONG)
    if kind.kind != "f":
        limits = np.iinfo(kind)
        if int(numbers.min()) < limits.min or int(numbers.max()) > limits.max:
            raise InputError(f"its voxels are not all numbers of type {kind.name}")
    with np.errstate(over="ignore"):
        return Memory(numbers.astype(kind).view(np.uint8))


def from_hex(file: BinaryIO, size: int) -> Memory:
    """`size` bytes, two hexadecimal digits each; white space is passed over.

    Raises:
        InputError: they are fewer or more, or other characters.
    """
    digits = _bounded(file, 4 * size).translate(None, SPACES)
    if len(digits) != 2 * size:
        raise InputError(CUT_SHORT if len(digits) < 2 * size else TOO_LONG)
    try:
        return Memory(np.frombuffer(binascii.unhexlify(digits), np.uint8))
    except binascii.Error as error:
        raise InputError("its voxels are not all hexadecimal digits") from error


def _bounded(file: BinaryIO, most: int) -> bytes:
    data = file.read(most + MOST_TRAILING + 1)
    if len(data) > most + MOST_TRAILING:
        raise InputError(TOO_LONG)
    return data


class Bunzip:
    """A bzip2 file of one stream; never unpacks more than is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._unpack = file, bz2.BZ2Decompressor()

    def read(self, size: int) -> npt.NDArray[np.uint8]:
        return filled(self._some, size)

    def finish(self) -> None:
        """Read to the end of the stream, so that its checksum is compared."""
        if self._some(1):
            raise InputError("it unpacks to more data than its header declares")

    def _some(self, most: int) -> bytes:
        """Between 1 and `most` bytes; none at the end."""
        while not self._unpack.eof:
            packed = self._file.read(CHUNK) if self._unpack.needs_input else b""
            if self._unpack.needs_input and not packed:
                raise InputError("its compressed data are cut short")
            try:
                piece = self._unpack.decompress(packed, most)
            except (OSError, ValueError) as error:
                raise InputError("its compressed data are damaged") from error
            if piece:
                return piece
        return b""
