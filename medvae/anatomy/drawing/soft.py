"""A public person's label map as soft memberships at any point.

The indicator of each label is smoothed by a quadratic B-spline of the map's own voxels (standard
deviation half a voxel): stairs of the map become smooth surfaces. Most points lie deep inside of
one label, so only the neighbourhood of borders costs anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from medvae.anatomy.collection.alignment import shown
from medvae.anatomy.registration.geometry import Array, transform

# Points near borders that are handled at once.
_CHUNK = 1 << 17


class SoftLabels:
    """Attributes:
    count: number of labels, 0 to count - 1.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.uint8],
        affine: Array,
        count: int,
        structures: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Args:
        labels: [X, Y, Z].
        affine: [4, 4] voxel index to mm.
        structures: [count] labels that the user gets. Beyond the map, where it cuts the anatomy
            off, all goes on as the most frequent label at the cut that is none of these.
        """
        self.count = count
        labels, low = _cropped(labels)
        shift = np.eye(4)
        shift[:3, 3] = -low
        self._to_index = shift @ np.linalg.inv(affine)
        # Two more voxels on each side, which repeat beyond.
        padded = np.pad(labels, 2, mode="edge")
        if structures is not None:
            _replace_outside(padded, structures)
        self._shape = padded.shape
        highest = ndimage.maximum_filter(padded, 3)
        mixed = highest != ndimage.minimum_filter(padded, 3)
        # One table holds both: what is mixed is looked up further.
        self._nearest = torch.from_numpy(np.where(mixed, np.uint8(255), padded).ravel())
        self._labels = torch.from_numpy(padded.ravel())
        _, y, z = padded.shape
        steps = np.arange(-1, 2)
        offsets = (steps[:, None, None] * y + steps[None, :, None]) * z + steps
        self._offsets = torch.from_numpy(offsets.ravel().astype(np.int32))

    def at(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels at points [3, P] in mm of the person's scanner.

        Returns:
            [P] uint8 the label, or 255 where several are near; and the index of those.
        """
        flat, _ = self._place(points)
        nearest = self._nearest[flat]
        return nearest, torch.nonzero(nearest == 255).ravel()

    def mixtures(self, points: torch.Tensor) -> torch.Tensor:
        """[P, count] membership of each label at points [3, P]; they sum to 1."""
        shares = torch.zeros(points.shape[1], self.count)
        for first in range(0, points.shape[1], _CHUNK):
            part = slice(first, first + _CHUNK)
            flat, offset = self._place(points[:, part])
            weights = _product(offset)
            near = self._labels[flat[:, None] + self._offsets].long()
            shares[part].scatter_add_(1, near, weights)
        return shares

    def _place(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat index of the nearest voxel, and [3, P] how far the point is from its centre."""
        index = transform(self._to_index, points)
        flat = torch.zeros(points.shape[1], dtype=torch.int32)
        offsets = torch.empty_like(index)
        for axis, n in enumerate(self._shape):
            at = (index[axis] + 2.0).clamp(1.0, n - 2.0)
            voxel = at.round()
            offsets[axis] = at - voxel
            flat = flat * n + voxel.int()
        return flat, offsets


def _replace_outside(padded: npt.NDArray[np.uint8], structures: npt.NDArray[np.bool_]) -> None:
    """The two outermost planes of every side: one label, of no known structure, and nothing."""
    for axis in range(3):
        for planes in (slice(0, 2), slice(-2, None)):
            side = np.moveaxis(padded, axis, 0)[planes]
            counts = np.bincount(side.ravel(), minlength=len(structures))
            counts[0] = 0
            counts[: len(structures)][structures] = 0
            side[side > 0] = counts.argmax() if counts.any() else 0


def _product(offset: torch.Tensor) -> torch.Tensor:
    """[P, 27] weights of the neighbours at offsets [3, P] from the nearest voxel's centre."""
    rows = [
        torch.stack([0.5 * (0.5 - t) ** 2, 0.75 - t * t, 0.5 * (0.5 + t) ** 2], dim=1)
        for t in offset
    ]
    plane = rows[0][:, :, None] * rows[1][:, None, :]
    return (plane[:, :, :, None] * rows[2][:, None, None, :]).reshape(-1, 27)


def _cropped(
    labels: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    """The part that shows something, with two voxels round it.

    Where the field of view has cut the anatomy off there are none: the cut repeats beyond.
    """
    body = labels > 0
    inside = shown(body)
    parts, low = [], []
    for axis, n in enumerate(labels.shape):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero((body & inside).any(axis=others))
        first, last = (int(planes[0]), int(planes[-1])) if len(planes) else (0, n - 1)
        open_planes = np.flatnonzero(inside.any(axis=others))
        low.append(max(first - 2, int(open_planes[0])))
        parts.append(slice(low[-1], min(last + 3, int(open_planes[-1]) + 1)))
    return np.ascontiguousarray(labels[tuple(parts)]), np.array(low, np.intp)
