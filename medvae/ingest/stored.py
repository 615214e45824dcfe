"""Voxels as a file stores them: sizes checked before memory is set aside, then read exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError
from medvae.ingest.records import Limits
from medvae.ingest.streams import Stream

Voxels = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]

# To the patient's right, front and head, as letters and along RAS+.
LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
UNKNOWN_SIDES = (
    "its header does not say which side is left: say how its axes run with --orientation, such as "
    "LPS (to the left, to the back, to the head)"
)
# x to the left and y to the back, as DICOM and ITK have them, to RAS+.
FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Image:
    """An image as stored.

    Attributes:
        voxels: [X, Y, Z], any real type and byte order.
        affine: voxel index to mm, RAS+.
        slope, intercept: from stored numbers to intensities.
        is_part: the header says that it is cut out of a larger grid.
        names: number -> name of what a label map shows, where its header says so.
        space: the space of the affine where the header states it: "scanner", also of what was
            aligned with such an image, or "template"; else empty.
        shows: what its header declares it to be, where that is not a scan; else empty.
        notes: kinds of `medvae.ingest.notices` that its header is of.
    """

    voxels: Voxels
    affine: Affine
    slope: float = 1.0
    intercept: float = 0.0
    is_part: bool = False
    names: tuple[tuple[int, str], ...] = ()
    space: str = ""
    shows: str = ""
    notes: tuple[str, ...] = ()


def checked_shape(shape: list[int], limits: Limits) -> tuple[int, int, int]:
    """The three spatial sizes of an image.

    Raises:
        InputError: it is not one 3-D volume, or larger than allowed.
    """
    if len(shape) < 3:
        raise InputError(f"it is a {len(shape)}-D image: expected a 3-D volume")
    if min(shape) < 1:
        raise InputError(f"its size is {times(shape)}: a volume has at least one voxel an axis")
    if max(shape[3:], default=1) > 1:
        raise InputError(
            f"it is a series of volumes ({times(shape)}): split it into 3-D files, or read the "
            "frames of a moving image with --frames"
        )
    # Python's integers cannot overflow, as a product of claimed sizes would.
    if math.prod(shape[:3]) > limits.voxels:
        raise InputError(f"it claims {times(shape)} voxels, more than the {limits.voxels} allowed")
    return shape[0], shape[1], shape[2]


def voxels(stream: Stream, shape: tuple[int, int, int], kind: np.dtype[Any]) -> Voxels:
    """The next voxels of a stream, first axis fastest: [X, Y, Z].

    Raises:
        InputError: the file ends early, or goes on.
    """
    data = stream.read(math.prod(shape) * kind.itemsize)
    stream.finish()
    return data.view(kind).reshape(shape, order="F")


def voxels_of_frame(
    stream: Stream, shape: tuple[int, int, int], kind: np.dtype[Any], index: int, count: int
) -> Voxels:
    """As `voxels`, of one of `count` volumes that follow one another."""
    size = math.prod(shape) * kind.itemsize
    for _ in range(index):
        stream.read(size)
    data = stream.read(size)
    for _ in range(index + 1, count):
        stream.read(size)
    stream.finish()
    return data.view(kind).reshape(shape, order="F")


def along(letters: str, spacing: npt.ArrayLike) -> Affine:
    """The affine of axes that run towards the sides that three letters name, from 0.

    Args:
        letters: such as LPS: the first axis runs to the left, the second to the back.
        spacing: [3], mm.
    """
    affine = np.zeros((4, 4))
    for axis, (letter, step) in enumerate(zip(letters, np.asarray(spacing), strict=True)):
        row, sign = LETTERS[letter]
        affine[row, axis] = sign * step
    affine[3, 3] = 1.0
    return affine


def is_orientation(letters: str) -> bool:
    """Whether three letters name three axes of the patient, such as LPS."""
    return len(letters) == 3 and sorted(LETTERS.get(letter, (9, 0))[0] for letter in letters) == [
        0,
        1,
        2,
    ]


def times(shape: tuple[int, ...] | list[int]) -> str:
    """A shape in words, such as 256 x 256 x 40."""
    return " x ".join(str(n) for n in shape)
