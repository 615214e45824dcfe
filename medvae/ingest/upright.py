"""Stacks that no orthogonal grid holds, brought onto one: a tilted gantry, uneven distances.

Later stages know a volume by its voxel sizes, so that a sheared grid would skew the anatomy. Slices
are shifted within their planes and new ones are interpolated between two neighbours, linearly; a
label is taken from the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError
from medvae.ingest.normalise import Affine, Voxels

# Gantries of CT tilt by up to 30 degrees; more is damage.
MOST_TILT = 40.0
# The widest distance between slices by the narrowest, and the widest in millimetres. What is
# further apart was not scanned.
MOST_UNEVEN = 4.0
WIDEST = 12.0
MOST_SLICES = 4096


@dataclass(frozen=True)
class Stack:
    """Slices in order, and the affine that they would have as an even, sheared stack (RAS+).

    Attributes:
        affine: exact where the distances are even.
        shift: [N, 2] of each slice against the first within its plane, in voxels (columns,
            rows); None where it is upright.
        along: [N] positions along the normal, millimetres; None where they are even.
    """

    affine: Affine
    shift: npt.NDArray[np.float64] | None = None
    along: npt.NDArray[np.float64] | None = None

    @property
    def is_upright(self) -> bool:
        return self.shift is None and self.along is None

    def slices_at(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Indices of the slices at places along the even stack of `affine`, in its voxels.

        What is between two slices, or beyond the last one, is in parts of their distance.
        """
        if self.along is None:
            return places
        last = len(self.along) - 1
        even = (self.along - self.along[0]) * (last / (self.along[-1] - self.along[0]))
        lower = np.clip(np.searchsorted(even, places, side="right") - 1, 0, last - 1)
        return np.asarray(lower + (places - even[lower]) / (even[lower + 1] - even[lower]))


def check_tilt(degrees: float) -> None:
    """Refuse a tilt that no gantry has. Raises InputError."""
    if degrees > MOST_TILT:
        raise InputError(
            f"its slices are shifted as by a gantry tilted by {degrees:.0f} degrees, more than the "
            f"{MOST_TILT:.0f} that can be: export it again"
        )


def can_be_evened(along: npt.NDArray[np.float64]) -> bool:
    """Whether slices at uneven distances are near enough to interpolate between them."""
    steps = np.diff(along)
    return bool(steps.max() <= min(WIDEST, MOST_UNEVEN * steps.min()))


def brought_upright(
    voxels: Voxels, stack: Stack, empty: float, *, labels: bool = False
) -> tuple[Voxels, Affine]:
    """Voxels [column, row, slice] on an orthogonal grid of even slices, and its affine.

    The plane grows so that no voxel is lost; the distance of slices is the narrowest one.

    Args:
        empty: what is outside of the image, in the units of the voxels.
        labels: take the nearest voxel instead of interpolating.

    Raises:
        InputError: the grid would have too many slices.
    """
    affine, shift = stack.affine.copy(), stack.shift
    if stack.along is not None:
        # Before slices are moved: a pixel of a new slice is then between two of the scanner's.
        along = stack.along - stack.along[0]
        step = float(np.diff(along).min())
        voxels = _evened(voxels, along, step, labels)
        affine[:3, 2] *= step * (len(along) - 1) / along[-1]
        if shift is not None:
            shift = np.outer(np.arange(voxels.shape[2]) * step / along[-1], shift[-1])
    if shift is not None:
        affine[:3, 2] -= affine[:3, :2] @ (shift[-1] / (len(shift) - 1))
        voxels, first = _sheared(voxels, shift, empty, labels)
        affine[:3, 3] += affine[:3, :2] @ first
    return voxels, affine


def _sheared(
    voxels: Voxels, shift: npt.NDArray[np.float64], empty: float, labels: bool
) -> tuple[Voxels, npt.NDArray[np.float64]]:
    """Each slice at its place, and where the new first voxel is in the old first slice."""
    # What rounding leaves of a whole voxel must not count as nearly one more.
    shift = np.round(shift, 5)
    low, high = np.floor(shift.min(axis=0)).astype(int), np.ceil(shift.max(axis=0)).astype(int)
    columns, rows, count = voxels.shape
    size = columns + int(high[0] - low[0]), rows + int(high[1] - low[1]), count
    placed = np.full(size, empty, voxels.dtype, order="F")
    for z in range(count):
        whole = np.floor(shift[z]).astype(int)
        part = shift[z] - whole
        if labels:
            whole, part = np.rint(shift[z]).astype(int), np.zeros(2)
        plane = _moved(voxels[:, :, z], part, empty)
        x, y = whole - low
        placed[x : x + plane.shape[0], y : y + plane.shape[1], z] = plane
    return placed, low.astype(np.float64)


def _moved(plane: Voxels, part: npt.NDArray[np.float64], empty: float) -> Voxels:
    """A plane moved by a part of a voxel along each axis, one voxel larger where it is moved."""
    moved = plane
    for axis in range(2):
        if part[axis] > 0:
            pads = [(0, 0), (0, 0)]
            pads[axis] = (1, 1)
            wide = np.pad(moved.astype(np.float32), pads, constant_values=empty)
            before = np.delete(wide, -1, axis)
            after = np.delete(wide, 0, axis)
            moved = np.float32(part[axis]) * before + np.float32(1 - part[axis]) * after
    return _as(moved, plane.dtype)


def _evened(voxels: Voxels, along: npt.NDArray[np.float64], step: float, labels: bool) -> Voxels:
    """Slices every `step` millimetres from the first on (`along`: [N], from 0)."""
    count = int(np.floor(along[-1] / step + 1e-3)) + 1
    if count > MOST_SLICES:
        raise InputError(f"it would have more than {MOST_SLICES} slices at even distances")
    evened = np.empty((*voxels.shape[:2], count), voxels.dtype, order="F")
    for z in range(count):
        at = min(z * step, float(along[-1]))
        after = int(np.clip(np.searchsorted(along, at), 1, len(along) - 1))
        part = (at - along[after - 1]) / (along[after] - along[after - 1])
        if labels or part < 1e-6 or part > 1 - 1e-6:
            evened[:, :, z] = voxels[:, :, after - (part < 0.5)]
        else:
            before, two = (voxels[:, :, i].astype(np.float32) for i in (after - 1, after))
            evened[:, :, z] = _as((1 - part) * before + part * two, voxels.dtype)
    return evened


def _as(values: Voxels, kind: np.dtype[np.generic]) -> Voxels:
    return np.rint(values).astype(kind) if kind.kind in "iu" else values.astype(kind)
