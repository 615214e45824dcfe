"""Euclidean distance transform of the voxels near a boundary, and the boundary's direction.

An exact transform of a whole volume would cost more than everything else that a sample's boundary
needs. Only short distances matter, so squared distances (integers) are computed in the mask's
surroundings alone, by minima along one axis after another (Saito and Toriwaki 1994), up to
`MAX_DISTANCE` voxels.
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

# Blur of the distance, in voxels, before its gradient is taken as the boundary's direction.
DIRECTION_BLUR = 1.0
# Largest distance in voxels: that of a profile (below 7), four standard deviations of the blur,
# and one voxel for the gradient.
MAX_DISTANCE = 12
# The squared distance of all voxels that are farther away.
FAR = MAX_DISTANCE**2 + 1


def near_boundary(inside: Inside) -> tuple[Box, Inside, Squares] | None:
    """Surroundings of a mask [X, Y, Z] and squared distances there; None without a boundary.

    Returns:
        The box; the mask in it; the squared distance, in voxels, from each voxel of the box to the
        nearest on the other side of the boundary, `FAR` beyond `MAX_DISTANCE`.
    """
    if not inside.any() or inside.all():
        return None
    box = tuple(_extent(inside, axis) for axis in range(3))
    assert len(box) == 3
    cropped = np.ascontiguousarray(inside[box])
    return box, cropped, _squares(cropped)


def _extent(inside: Inside, axis: int) -> slice:
    """The mask's extent along one axis, with a margin of `MAX_DISTANCE` voxels."""
    occupied = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
    first, last = int(occupied[0]), int(occupied[-1])
    return slice(max(0, first - MAX_DISTANCE), last + 1 + MAX_DISTANCE)


def _squares(inside: Inside) -> Squares:
    # On its own side, each voxel has 0 in one of the two summands.
    return _to_outside(inside) + _to_outside(~inside)


def _to_outside(inside: Inside) -> Squares:
    """[X, Y, Z] squared distance from voxels inside to the nearest outside; 0 outside."""
    # The last axis is moved to the front: operations on short rows are slow.
    steps = np.multiply(inside.transpose(2, 0, 1), MAX_DISTANCE + 1, dtype=np.uint8, order="C")
    for step in (1, 2, 4, 8):
        _relax(steps, steps.copy(), step, step)
    square = np.minimum(np.arange(MAX_DISTANCE + 2) ** 2, FAR).astype(np.uint8)
    squares = square.take(steps.transpose(1, 2, 0))
    for axis in (0, 1):
        lines, before = squares.swapaxes(0, axis), squares.copy().swapaxes(0, axis)
        for step in range(1, MAX_DISTANCE + 1):
            _relax(lines, before, step, step * step)
    return squares


def _relax(lines: Squares, before: Squares, step: int, cost: int) -> None:
    """Lower lines [n, ...] to the values `before` of voxels `step` away, plus `cost`, in place."""
    if cost + FAR > 255:
        before = np.minimum(before, 255 - cost)
    candidates = before + np.uint8(cost)
    np.minimum(lines[step:], candidates[:-step], out=lines[step:])
    np.minimum(lines[:-step], candidates[step:], out=lines[:-step])


def gradient(inside: Inside, squares: Squares) -> Array:
    """[3, X, Y, Z] gradient of the blurred signed distance, which is negative inside."""
    roots = np.sqrt(np.arange(FAR + 1)) - 0.5
    distance = roots[squares]
    np.negative(distance, out=distance, where=inside)
    x, y, z = (_blur(n) for n in inside.shape)
    blurred = x @ (y @ (distance @ z.T)).reshape(len(x), -1)
    derivatives = np.empty((3, *inside.shape))
    for axis, derivative in enumerate(derivatives):
        values = np.moveaxis(blurred.reshape(inside.shape), axis, 0)
        out = np.moveaxis(derivative, axis, 0)
        np.subtract(values[2:], values[:-2], out=out[1:-1])
        out[1:-1] *= 0.5
        out[0], out[-1] = values[1] - values[0], values[-1] - values[-2]
    return derivatives


@lru_cache(maxsize=16)
def _blur(n: int) -> Array:
    """[n, n] a Gaussian filter along an axis of n voxels, as a matrix; read-only."""
    matrix: Array = ndimage.gaussian_filter1d(np.eye(n), DIRECTION_BLUR, axis=0)
    matrix.setflags(write=False)
    return matrix
