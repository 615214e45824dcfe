"""The whole that grows part by part: weighted sums on the grid of the first part, extended."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.errors import InputError
from medvae.grid import MOST_VOXELS
from medvae.stitching.parts import Array, Matrix, Part, Placement, corners, points, translation

# Samples this near the centres of voxels (in voxels) are the voxels themselves.
ON_GRID = 1e-4
# Half a voxel is beyond the centre of the outermost one.
EDGE = 0.5
# The whole does not grow for less than this, in voxels.
SLIVER = 0.25


class Mosaic:
    """Parts joined so far.

    Each voxel is the mean of the parts that show it, weighted by the product over the axes of
    the distance to the nearer face of the part: where a part ends its weight is nearly nothing,
    so no seam is seen. A label is that of the part with the largest weight.

    Attributes:
        affine: [4, 4] index to millimetres of the first part, its origin moved as it grows.
        total: [C, X, Y, Z] weighted sums; weight: [X, Y, Z].
        labels: [X, Y, Z] uint8, or None where the first part has none.
    """

    def __init__(self, first: Part) -> None:
        volume = first.volume
        self.affine: Matrix = volume.affine.copy()
        self.total: Array = np.zeros((len(first.values), *volume.shape), np.float32)
        self.weight: Array = np.zeros(volume.shape, np.float32)
        self._largest: Array = np.zeros(volume.shape, np.float32)
        self.labels = None if volume.mask is None else np.zeros(volume.shape, np.uint8)
        self.add(first, Placement(np.eye(4), "first"))

    def mean(self, empty: float = 0.0) -> Array:
        """[C, X, Y, Z] the joined values; `empty` where no part shows anything."""
        is_covered = self.weight > 0
        mean: Array = np.where(is_covered, self.total / np.where(is_covered, self.weight, 1), empty)
        return mean

    def add(self, part: Part, placed: Placement) -> None:
        """Blend a part in.

        Raises:
            InputError: the whole would have more voxels than a volume may have.
        """
        to_world = placed.matrix @ part.volume.affine
        start, end = self._grow(points(np.linalg.inv(self.affine) @ to_world, _box(part)))
        where = tuple(slice(a, b) for a, b in zip(start, end, strict=True))
        # Index of the block to index of the part.
        back = np.linalg.inv(to_world) @ self.affine @ translation(start)
        shape = tuple(b - a for a, b in zip(start, end, strict=True))
        weight = _weight(back, shape, part.volume.shape)
        visible = part.shown
        if not visible.all():
            # Voxels without a number are no image: another part's are taken alone there.
            weight = weight * sampled(visible.astype(np.uint8), back, shape, order=0)
        values = np.stack([sampled(channel, back, shape) for channel in part.values])
        self.total[:, *where] += weight * (placed.gain * values + placed.offset)
        self.weight[where] += weight
        if self.labels is not None and part.volume.mask is not None:
            labels = sampled(part.volume.mask, back, shape, order=0)
            nearest = weight > self._largest[where]
            self.labels[where][nearest] = labels[nearest]
            np.maximum(self._largest[where], weight, out=self._largest[where])

    def _grow(self, box: Matrix) -> tuple[list[int], list[int]]:
        """Make room for corners [8, 3] in voxels; gives the block's first and last voxel + 1."""
        low = np.floor(box.min(axis=0) + SLIVER).astype(int)
        high = np.ceil(box.max(axis=0) - SLIVER).astype(int) + 1
        shape = np.array(self.weight.shape)
        before, after = np.maximum(-low, 0), np.maximum(high - shape, 0)
        if np.prod(shape + before + after, dtype=float) > MOST_VOXELS:
            raise InputError(f"the whole would have more than {MOST_VOXELS} voxels: join fewer")
        room = list(zip(before, after, strict=True))
        self.total = np.pad(self.total, [(0, 0), *room])
        self.weight = np.pad(self.weight, room)
        self._largest = np.pad(self._largest, room)
        if self.labels is not None:
            self.labels = np.pad(self.labels, room)
        self.affine = self.affine @ translation(-before)
        return (low + before).tolist(), (high + before).tolist()


def sampled(
    image: npt.NDArray[Any], back: Matrix, shape: tuple[int, ...], order: int = 3
) -> npt.NDArray[Any]:
    """The image at the voxels of a block: cubic splines within the image's range, or nearest.

    back: [4, 4] index of the block to index of the image.
    """
    shift = back[:3, 3]
    whole = np.rint(shift)
    if np.allclose(back[:3, :3], np.eye(3), atol=ON_GRID / max(image.shape)) and np.allclose(
        shift, whole, atol=ON_GRID
    ):
        clipped = [
            np.clip(np.arange(size) + int(start), 0, most - 1)
            for size, start, most in zip(shape, whole, image.shape, strict=True)
        ]
        return np.asarray(image[np.ix_(*clipped)])
    values = ndimage.affine_transform(
        image, back[:3, :3], shift, output_shape=shape, order=order, mode="nearest"
    )
    return np.asarray(np.clip(values, image.min(), image.max()))


def _box(part: Part) -> Matrix:
    return corners(part.volume.shape)[:, :3]


def _weight(back: Matrix, shape: tuple[int, ...], size: tuple[int, ...]) -> Array:
    """[X, Y, Z] product over the axes of the distance to the nearer face, 0 outside the part."""
    weight: Array = np.ones(shape, np.float32)
    index = np.ogrid[tuple(slice(size_of_axis) for size_of_axis in shape)]
    for axis, most in enumerate(size):
        place = (
            sum(back[axis, axis_of_part] * index[axis_of_part] for axis_of_part in range(3))
            + back[axis, 3]
        )
        weight = weight * np.clip(
            np.minimum(place + EDGE, most - 1 + EDGE - place), 0, None
        ).astype(np.float32)
    return weight
