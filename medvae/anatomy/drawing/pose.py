"""Pose of a synthetic subject: from voxels of an output grid to a public person's own grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.registration import Alignment, sampling
from medvae.anatomy.registration.geometry import Array, affine_points, transform
from medvae.anatomy.registration.mapping import INVERSIONS, field_spacing
from medvae.anatomy.scan import Scan

# Voxels of the output that are handled at once: memory does not grow with the output.
SLAB_VOXELS = 1 << 20


@dataclass(frozen=True)
class OutputGrid:
    """The grid of a drawn volume.

    Attributes:
        affine: [4, 4] voxel index to mm; the middle of the grid is the origin.
        shape: voxels along each axis.
    """

    affine: Array
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> OutputGrid:
        """Axes along x, y, z, the middle at the origin."""
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = -np.asarray(spacing) * (np.asarray(shape) - 1) / 2.0
        return cls(affine, shape)

    def slabs(self) -> Iterator[tuple[slice, OutputGrid]]:
        """Parts along the first axis of about `SLAB_VOXELS`, each with its own grid."""
        step = max(1, SLAB_VOXELS // (self.shape[1] * self.shape[2]))
        for first in range(0, self.shape[0], step):
            last = min(self.shape[0], first + step)
            affine = self.affine.copy()
            affine[:3, 3] += self.affine[:3, 0] * first
            yield slice(first, last), OutputGrid(affine, (last - first, *self.shape[1:]))

    def thinned(self, spacing: float) -> OutputGrid:
        """One voxel of the grid every `spacing` mm, or every voxel of a coarser one."""
        steps = np.maximum(np.round(spacing / self.spacing), 1.0).astype(int)
        x, y, z = (-(-n // int(s)) for n, s in zip(self.shape, steps, strict=True))
        affine = self.affine @ np.diag([*steps.astype(np.float64), 1.0])
        return OutputGrid(np.asarray(affine), (x, y, z))

    @property
    def spacing(self) -> Array:
        """[3] voxel size in mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))


class Pose:
    """A synthetic subject in the template's frame, seen from one public person.

    A point x (mm of the output) goes to y = q + u(q) in the template's frame, q = A x, as every
    subject's does; the public person's own map is inverted from there.
    """

    def __init__(self, subject: Alignment, person: Alignment) -> None:
        """subject: the drawn alignment; person: the public person's, on the same box."""
        self.subject = subject
        self._person = person
        device = torch.device("cpu")
        self._fields = [
            (alignment, alignment.field(field_spacing(alignment), device))
            for alignment in (subject, person)
        ]

    def template_points(self, grid: OutputGrid) -> torch.Tensor:
        """[3, X, Y, Z] mm in the template's frame of each voxel of a grid."""
        alignment, field = self._fields[0]
        points = affine_points(alignment.affine @ grid.affine, grid.shape, torch.device("cpu"))
        return points + sampling.sample(field, sampling.box_coordinates(points, alignment.box))

    def person_points(self, grid: OutputGrid) -> torch.Tensor:
        """[3, X, Y, Z] mm of the public person's own scanner of each voxel of a grid."""
        alignment, field = self._fields[1]
        origin = points = self.template_points(grid)
        # q + u(q) = y, solved for q: fixed-point iteration.
        for _ in range(INVERSIONS):
            points = origin - sampling.sample(
                field, sampling.box_coordinates(points, alignment.box)
            )
        return transform(np.asarray(np.linalg.inv(alignment.affine)), points)


def in_box(scan: Scan, alignment: Alignment) -> npt.NDArray[np.bool_]:
    """[X, Y, Z] whether a voxel is in the template's box, by the affine map alone."""
    inside = np.empty(scan.image.shape, bool)
    x, y, z = scan.image.shape
    for where, slab in OutputGrid(scan.affine, (x, y, z)).slabs():
        points = affine_points(alignment.affine @ slab.affine, slab.shape, torch.device("cpu"))
        at = sampling.box_coordinates(points, alignment.box)
        inside[where] = (at.abs() <= 1.0).all(dim=0).numpy()
    return inside
