"""Where the voxels of a drawn volume are, from a coarse lattice of points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.drawing.pose import OutputGrid, Pose
from medvae.anatomy.drawing.shading import Shading
from medvae.anatomy.registration.geometry import Array

# The posed map is known every so many mm, and linear between: a deformation has no shorter waves.
LATTICE_MM = 4.0


class Lattice:
    """Where the voxels of a grid are in the public person's scanner, and their gain."""

    def __init__(self, pose: Pose, grid: OutputGrid, shading: Shading, coefficients: Array) -> None:
        self._step = np.maximum(np.floor(LATTICE_MM / grid.spacing), 1.0)
        self._shape = grid.shape
        x, y, z = (
            int(np.ceil((n + 1) / s)) + 1 for n, s in zip(grid.shape, self._step, strict=True)
        )
        change = np.diag([*self._step, 1.0])
        # The first point is a voxel outside.
        change[:3, 3] = -1.0
        lattice = OutputGrid(grid.affine @ change, (x, y, z))
        self._points = pose.person_points(lattice)
        self._gain = shading.log_gain(pose.template_points(lattice), coefficients)[None]

    def points(self, where: slice, offset: Array) -> torch.Tensor:
        """[3, P] mm at the voxels of a slab, moved by `offset` voxels."""
        return self._between(self._points, where, offset).flatten(1)

    def gain(self, where: slice) -> npt.NDArray[np.float32]:
        """[X, Y, Z] at the voxels of a slab."""
        return np.asarray(self._between(self._gain, where, np.zeros(3))[0].exp().numpy())

    def _between(self, values: torch.Tensor, where: slice, offset: Array) -> torch.Tensor:
        for axis, (n, step) in enumerate(zip(self._shape, self._step, strict=True)):
            index = np.arange(n)[where] if axis == 0 else np.arange(n)
            at = (index + offset[axis] + 1.0) / step
            matrix = torch.from_numpy(_linear(at, values.shape[axis + 1]))
            values = torch.movedim(torch.movedim(values, axis + 1, -1) @ matrix, -1, axis + 1)
        return values


def _linear(at: Array, count: int) -> npt.NDArray[np.float32]:
    """[count, N] weights of points 0, 1, ... at places [N] between them."""
    return np.asarray(np.maximum(1.0 - np.abs(np.arange(count)[:, None] - at), 0.0), np.float32)
