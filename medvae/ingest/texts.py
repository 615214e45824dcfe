"""Text headers (NRRD, MetaImage): bounded lines of ASCII, numbers, and where the voxels are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from medvae.errors import InputError

MOST_HEADER = 1 << 22
DAMAGED = "its header is damaged"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a header, without their ends; characters beyond ASCII are kept as they are.

    Raises:
        InputError: the header is longer than any header is.
    """
    left = MOST_HEADER
    while line := file.readline(left + 1):
        left -= len(line)
        if left < 0:
            raise InputError(f"its header is longer than {MOST_HEADER} bytes")
        yield line.decode("latin-1").rstrip("\r\n")


def integers(text: str, field: str) -> list[int]:
    """Whole numbers that blanks separate.

    Raises:
        InputError: others, naming the field.
    """
    words = text.split()
    if not words or not all(re.fullmatch(r"[+-]?\d{1,12}", word) for word in words):
        raise InputError(f"{field} of its header is not a list of whole numbers: {DAMAGED}")
    return [int(word) for word in words]


def numbers(text: str, field: str) -> list[float]:
    """Finite numbers that blanks separate. Raises as `integers`."""
    words = text.split()
    values = [float(word) for word in words if _NUMBER.fullmatch(word)]
    if not values or len(values) != len(words) or not all(map(math.isfinite, values)):
        raise InputError(f"{field} of its header is not a list of numbers: {DAMAGED}")
    return values


def voxel_file(text: str, names: list[str], files: Iterator[BinaryIO]) -> BinaryIO:
    """The file that a header names, of those that lie beside it under its own name.

    The header's text is only compared with these names; it is never used as a path.

    Raises:
        InputError: it names another.
    """
    for name in names:
        file = next(files)
        if name == PurePosixPath(text).name and text.removeprefix("./") == name:
            return file
    raise InputError(
        "its voxels are in a separate file that is not beside it under its own name: expected "
        "such as x.raw beside x.mhd or x.nhdr"
    )
