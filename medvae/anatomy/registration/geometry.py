"""Boxes and grids in millimetres, and affine maps between frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    """The part of the template's frame that a template covers.

    Attributes:
        low: the corner with the smallest coordinates, in mm.
        size: length of the sides, in mm.
    """

    low: Triple
    size: Triple

    def __post_init__(self) -> None:
        if not (np.isfinite([*self.low, *self.size]).all() and min(self.size) > 0):
            raise ValueError(f"a box has finite corners and positive sides, not {self}")

    @property
    def centre(self) -> Array:
        """[3] mm."""
        return np.asarray(self.low) + np.asarray(self.size) / 2.0

    @property
    def edge(self) -> float:
        """Side of the cube of the same volume, in mm."""
        return float(np.prod(self.size) ** (1.0 / 3.0))

    def grid(self, spacing: float) -> BoxGrid:
        """The grid whose voxels fill the box and are at most `spacing` mm along each axis."""
        x, y, z = (max(2, int(np.ceil(side / spacing - 1e-6))) for side in self.size)
        return BoxGrid(self, (x, y, z))


@dataclass(frozen=True)
class BoxGrid:
    """Voxels that fill a box, axes along the frame's.

    Attributes:
        shape: number of voxels along each axis.
    """

    box: Box
    shape: tuple[int, int, int]

    @property
    def spacing(self) -> Triple:
        """Voxel size along each axis, in mm."""
        x, y, z = (side / n for side, n in zip(self.box.size, self.shape, strict=True))
        return x, y, z

    @property
    def voxel_volume(self) -> float:
        """mm^3."""
        return float(np.prod(self.spacing))

    @property
    def affine(self) -> Array:
        """[4, 4] voxel index to mm in the template's frame."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = np.asarray(self.box.low) + np.asarray(self.spacing) / 2.0
        return affine

    def centres(self, device: torch.device) -> torch.Tensor:
        """[3, X, Y, Z] float32 coordinates of the voxel centres, in mm."""
        return affine_points(self.affine, self.shape, device)


def affine_points(affine: Array, shape: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """[3, X, Y, Z] float32: `affine` [4, 4] applied to every voxel index of a grid."""
    axes = [
        torch.arange(n, dtype=torch.float64).reshape([-1 if a == b else 1 for b in range(3)])
        for a, n in enumerate(shape)
    ]
    rows = [
        sum((float(row[a]) * axes[a] for a in range(3)), torch.full((1, 1, 1), float(row[3])))
        for row in affine[:3]
    ]
    return torch.stack([row.expand(shape).float() for row in rows]).to(device)


def transform(affine: Array, points: torch.Tensor) -> torch.Tensor:
    """`affine` [4, 4] applied to points [3, ...] in float32."""
    rows = []
    for row in affine[:3]:
        moved = points[0] * float(row[0])
        moved.add_(points[1], alpha=float(row[1])).add_(points[2], alpha=float(row[2]))
        rows.append(moved.add_(float(row[3])))
    return torch.stack(rows)
