"""A part of what was scanned or photographed in several, and where it belongs in the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medvae.volume import Volume

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

Start = Literal["first", "header", "search"]


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: for messages.
        volume: its voxels, its mask and the geometry that its header claims.
    """

    name: str
    volume: Volume

    @property
    def values(self) -> Array:
        """[C, X, Y, Z] the voxels; C is 1 where the volume has no channels.

        Those that are not `shown` have the lowest value of the part.
        """
        voxels = np.asarray(self.volume.voxels, np.float32)
        if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
            voxels = np.where(np.isfinite(voxels), voxels, np.nanmin(voxels))
        return voxels if self.volume.channels else voxels[None]

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """[X, Y, Z] the voxels that hold a number in every channel: others are no image."""
        finite = np.isfinite(self.volume.voxels)
        return np.asarray(finite.all(axis=0) if self.volume.channels else finite)

    @property
    def whole_numbers(self) -> bool:
        """Whether its voxels are stored as whole numbers."""
        return self.volume.voxels.dtype.kind in "iu"


@dataclass(frozen=True)
class Placement:
    """Where a part belongs and how its grey values become those of the first.

    Attributes:
        matrix: [4, 4] the part's millimetres, as its header has them, to the first part's.
        start: what the registration began from: the headers or a search of all shifts.
        gain, offset: a value v of the part becomes gain * v + offset.
        correlation: of the fine structure of the part and of what was joined before, over their
            overlap, in [-1, 1]; 1 of the first part.
        significance: the correlation in standard deviations of what chance gives.
        overlap: fraction of the part's voxels that the parts before it show as well.
    """

    matrix: Matrix
    start: Start
    gain: float = 1.0
    offset: float = 0.0
    correlation: float = 1.0
    significance: float = 0.0
    overlap: float = 0.0


def translation(shift: npt.ArrayLike) -> Matrix:
    """[4, 4] the matrix that moves by `shift`, three numbers."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def corners(shape: tuple[int, ...]) -> Matrix:
    """[8, 4] homogeneous indices of the corner voxels' centres of a box of three axes."""
    ends = [(0.0, float(size - 1)) for size in shape[-3:]]
    grid = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([grid, np.ones((8, 1))], axis=1)


def points(matrix: Matrix, where: npt.NDArray[Any]) -> Matrix:
    """[N, 3] points [N, 3] moved by a [4, 4] matrix."""
    moved: Matrix = where @ matrix[:3, :3].T + matrix[:3, 3]
    return moved
