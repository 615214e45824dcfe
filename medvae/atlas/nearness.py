"""How far voxels near a border are from it, and which way it faces: whole numbers, and a box.

An exact Euclidean distance transform of a whole volume costs more than all else that a drawn
image's border needs. Only near distances matter, so they are taken in the mask's surroundings
alone, as squares (whole numbers), by minima along one axis after another (Saito and Toriwaki
1994) over no more than `REACH` voxels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas.basis import Array

Inside = npt.NDArray[np.bool_]
Squares = npt.NDArray[np.uint8]
Box = tuple[slice, slice, slice]

# Blur of the distance before its slope is called the border's direction, in voxels.
FACING_BLUR = 1.0
# Voxels up to which distances are told: those where a profile is told (below 7), and four
# deviations of the blur and a step of the slope beyond.
REACH = 12
FAR = REACH**2 + 1


def around(inside: Inside) -> tuple[Box, Inside, Squares] | None:
    """The surroundings of a mask [X, Y, Z] and squared distances there; None without a border.

    Returns:
        The box; the mask in it; the squared distance in voxels from each voxel of the box to
        the nearest on the other side of the border, `FAR` where it is beyond `REACH`.
    """
    if not inside.any() or inside.all():
        return None
    box = tuple(_stretch(inside, axis) for axis in range(3))
    assert len(box) == 3
    part = np.ascontiguousarray(inside[box])
    return box, part, _squares(part)


def _stretch(inside: Inside, axis: int) -> slice:
    """Along one axis, from `REACH` voxels before the first inside to as many after the last."""
    found = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
    return slice(max(0, int(found[0]) - REACH), int(found[-1]) + 1 + REACH)


def _squares(inside: Inside) -> Squares:
    # Voxels are 0 on one side or the other.
    return _to_other(inside) + _to_other(~inside)


def _to_other(inside: Inside) -> Squares:
    """[X, Y, Z] squared distance from voxels inside to the nearest outside; 0 outside."""
    # The last axis first, while it leads: short rows are slow.
    steps = np.multiply(inside.transpose(2, 0, 1), REACH + 1, dtype=np.uint8, order="C")
    for step in (1, 2, 4, 8):
        _least(steps, steps.copy(), step, step)
    square = np.minimum(np.arange(REACH + 2) ** 2, FAR).astype(np.uint8)
    squares = square.take(steps.transpose(1, 2, 0))
    for axis in (0, 1):
        lines, before = squares.swapaxes(0, axis), squares.copy().swapaxes(0, axis)
        for step in range(1, REACH + 1):
            _least(lines, before, step, step * step)
    return squares


def _least(lines: Squares, before: Squares, step: int, cost: int) -> None:
    """Lower lines [n, ...] to what voxels `step` away have before, and the cost of going."""
    if cost + FAR > 255:
        before = np.minimum(before, 255 - cost)
    dearer = before + np.uint8(cost)
    np.minimum(lines[step:], dearer[:-step], out=lines[step:])
    np.minimum(lines[:-step], dearer[step:], out=lines[:-step])


def slope(inside: Inside, squares: Squares) -> Array:
    """[3, X, Y, Z] of the blurred signed distance, negative inside, voxel by voxel."""
    roots = np.sqrt(np.arange(FAR + 1)) - 0.5
    distance = roots[squares]
    np.negative(distance, out=distance, where=inside)
    x, y, z = (_blur(n) for n in inside.shape)
    blurred = x @ (y @ (distance @ z.T)).reshape(len(x), -1)
    found = np.empty((3, *inside.shape))
    for axis, part in enumerate(found):
        values = np.moveaxis(blurred.reshape(inside.shape), axis, 0)
        out = np.moveaxis(part, axis, 0)
        np.subtract(values[2:], values[:-2], out=out[1:-1])
        out[1:-1] *= 0.5
        out[0], out[-1] = values[1] - values[0], values[-1] - values[-2]
    return found


@lru_cache(maxsize=16)
def _blur(n: int) -> Array:
    """[n, n] a Gaussian filter along an axis, as a matrix."""
    matrix: Array = ndimage.gaussian_filter1d(np.eye(n), FACING_BLUR, axis=0)
    matrix.setflags(write=False)
    return matrix
