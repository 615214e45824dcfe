"""Where labels are and how large: a box round each of them, in which its distances are cosines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.organs import LIMIT_MM
from medvae.anatomy.registration import sampling
from medvae.anatomy.registration.geometry import Array, Box, BoxGrid

Map = npt.NDArray[np.float32]

# Numbers of a label: the logarithm of its volume as a part of that of an ellipsoid of its radii,
# the middle (x, y, z in mm) and the logarithm of the radius (mm) along each axis.
NUMBERS: Final = 7
FILL, MIDDLE, RADIUS = 0, slice(1, 4), slice(4, 7)
# Before anything is released each label is a ball of this radius, as a part of the edge.
BALL: Final = 0.2
TISSUE_BALL: Final = 0.25
# The radius of a ball over the standard deviation of its points along an axis.
PER_STD: Final = 5.0**0.5
# The body: a cylinder along the third axis, as long as the field of view. Standard deviations of
# its points as parts of the view's sides, and the radius of a circle over that of its points.
_BODY_STD = (0.22, 0.17, 12.0**-0.5)
_PER_STD_OF_CIRCLE = 2.0
# The box of a label reaches beyond it by this part of its radius, and by as far as its distances
# are measured: this part of its mean radius, within these limits in mm.
BEYOND, MEASURED, LEAST_MEASURED_MM = 0.2, 0.6, 4.0
# In a field of view with a longer edge (mm) labels are looked for; a smaller one is taken as cut
# round the labels, which then have the whole of it as their box.
WIDE_MM: Final = 160.0
# A label whose mean radius is a larger part of the field of view's edge has the whole of it as its
# box: cosines of all of it are as fine as it needs, and beside its own box noise moves no border.
LARGE: Final = 0.2
# Boxes count as this wide at most where distances are parts of them.
WIDEST_MM: Final = 110.0
# Radii are at least and at most these parts of the edge, whatever noise says.
SMALLEST, LARGEST = 0.01, 1.0
# Voxels along each side of a label's own grid.
VOXELS: Final = 56


@dataclass(frozen=True)
class Layout:
    """Boxes of the labels in one field of view.

    Attributes:
        view: the field of view, in mm, the middle at the origin.
        numbers: [L, 7] (see `NUMBERS`).
        organs: how many of them are labels of the cohort; the others, tissues, come after them.
    """

    view: Box
    numbers: Array
    organs: int

    @classmethod
    def public(cls, view: Box, organs: int, tissues: int = 0) -> Layout:
        """Nothing of any patient: balls in the middle.

        Tissues, the body last, fill a part of the view: the body is as long as the view.
        """
        numbers = np.zeros((organs + tissues, NUMBERS))
        numbers[:organs, RADIUS] = np.log(BALL * view.edge)
        numbers[organs:, RADIUS] = np.log(TISSUE_BALL * view.edge)
        if tissues:
            # A cylinder that is as long as the view (see `ellipsoids`).
            numbers[-1, RADIUS] = np.log(PER_STD * np.multiply(view.size, _BODY_STD))
        return cls(view, numbers, organs)

    @property
    def parts(self) -> Array:
        """[L] logarithm of each label's part of the field of view."""
        return parts_of(self.numbers, self.view)

    @property
    def scales(self) -> Array:
        """[7] by how much patients may differ from what is public."""
        return np.array([0.6, *[0.1 * self.view.edge] * 3, *[0.6] * 3])

    @property
    def radii(self) -> Array:
        """[L, 3] in mm."""
        edge = self.view.edge
        logs = np.clip(self.numbers[:, RADIUS], np.log(SMALLEST * edge), np.log(LARGEST * edge))
        return np.asarray(np.exp(logs))

    @property
    def wide(self) -> bool:
        """Whether labels are looked for."""
        return self.view.edge > WIDE_MM

    @property
    def large(self) -> npt.NDArray[np.bool_]:
        """[L] whether the whole field of view is a label's box."""
        tissue = np.arange(len(self.numbers)) >= self.organs
        large = self.radii.mean(axis=1) > LARGE * self.view.edge
        return np.asarray(tissue | large | (not self.wide))

    @property
    def reach(self) -> Array:
        """[L] distances of a label are cut off here, in mm."""
        own = np.clip(MEASURED * self.radii.mean(axis=1), LEAST_MEASURED_MM, LIMIT_MM)
        return np.where(self.large, LIMIT_MM, own)

    @property
    def units(self) -> Array:
        """[L] the unit of distances, in mm: the edge of a cube of each label's box."""
        return np.asarray([min(grid.box.edge, WIDEST_MM) for grid in self.grids])

    @cached_property
    def grids(self) -> list[BoxGrid]:
        """The grid of each label's box."""
        view_grid = self.view.grid(self.view.edge / VOXELS)
        return [
            view_grid if large else BoxGrid(self._own_box(label), (VOXELS, VOXELS, VOXELS))
            for label, large in enumerate(self.large)
        ]

    def _own_box(self, label: int) -> Box:
        half = (1.0 + BEYOND) * self.radii[label] + self.reach[label]
        low, size = self.numbers[label, MIDDLE] - half, 2.0 * half
        return Box(
            (float(low[0]), float(low[1]), float(low[2])),
            (float(size[0]), float(size[1]), float(size[2])),
        )

    def ellipsoids(self) -> list[Map]:
        """Signed distances of ellipsoids [X, Y, Z], each on its label's grid; of a cylinder that
        has no end for the body."""
        distances = []
        for label, grid in enumerate(self.grids):
            points = grid.centres(torch.device("cpu")).numpy()
            away = points - self.numbers[label, MIDDLE].reshape(3, 1, 1, 1)
            radius = self.radii[label]
            if label >= self.organs and label == len(self.numbers) - 1:
                radius, away = radius[:2] * _PER_STD_OF_CIRCLE / PER_STD, away[:2]
            far = np.sqrt(((away / radius.reshape(-1, 1, 1, 1)) ** 2).sum(axis=0)) - 1.0
            distances.append((far * np.prod(radius) ** (1.0 / len(radius))).astype(np.float32))
        return self.within(distances)

    def within(self, distances: Sequence[Map]) -> list[Map]:
        """Distances, one map a label, cut off at `reach`."""
        limits = self.reach.astype(np.float32)
        return [
            np.clip(distance, -limit, limit)
            for distance, limit in zip(distances, limits, strict=True)
        ]

    def in_units(self, distances: Sequence[Map]) -> list[Map]:
        """Distances, one map a label, as parts of `units`."""
        units = self.units.astype(np.float32)
        return [distance / unit for distance, unit in zip(distances, units, strict=True)]

    def in_view(self, distances: Sequence[Map], grid: BoxGrid) -> Map:
        """[L, X, Y, Z] on one grid of distances on the labels' own grids.

        Beside its box a label is at its `reach`.
        """
        points = grid.centres(torch.device("cpu"))
        pulled = []
        for own, distance, limit in zip(self.grids, distances, self.reach, strict=True):
            where = sampling.box_coordinates(points, own.box)
            values = sampling.sample(torch.from_numpy(distance[None]), where)[0]
            inside = (where.abs() <= 1.0).all(dim=0)
            pulled.append(torch.where(inside, values, float(limit)).numpy())
        return np.stack(pulled).astype(np.float32)


def parts_of(numbers: Array, view: Box) -> Array:
    """[L] logarithm of the part of a field of view that labels of numbers [L, 7] have."""
    ellipsoid = np.log(4.0 / 3.0 * np.pi) + numbers[:, RADIUS].sum(axis=1)
    return np.asarray(numbers[:, FILL] + ellipsoid - np.log(float(np.prod(view.size))))


def shown(channels: npt.NDArray[np.float32], affine: Array, view: Box) -> Array:
    """[L, 7] numbers of what a view shows of distances [L, X, Y, Z]; NaN where it shows nothing.

    affine: [4, 4] voxel index to mm in the frame of the view.
    """
    places = np.full((len(channels), NUMBERS), np.nan)
    voxel = abs(float(np.linalg.det(affine[:3, :3])))
    for numbers, channel in zip(places, channels, strict=True):
        points = np.argwhere(channel < 0) @ affine[:3, :3].T + affine[:3, 3]
        points = points[(np.abs(points - view.centre) <= np.asarray(view.size) / 2.0).all(axis=1)]
        if not len(points):
            continue
        # A voxel is not a point: one alone has an extent, too.
        own = np.sqrt(points.var(axis=0) + np.diag(affine[:3, :3] @ affine[:3, :3].T) / 12.0)
        numbers[MIDDLE], numbers[RADIUS] = points.mean(axis=0), np.log(PER_STD * own)
        ellipsoid = 4.0 / 3.0 * np.pi * float(np.prod(PER_STD * own))
        numbers[FILL] = np.log(len(points) * voxel / ellipsoid)
    return places
