"""One patient's volume as the anatomy model sees it: on the scanner's own grid, in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.geometry import Array


@dataclass(frozen=True)
class Scan:
    """A patient's volume.

    Attributes:
        image: [X, Y, Z] float32 in [-1, 1], scaled as the modality says (`grid.normalise`).
        affine: [4, 4] voxel index to scanner mm, axes closest to RAS+.
        mask: [X, Y, Z] uint8, the cohort's labels 1..L in the order of its scheme; None: no mask.
    """

    image: npt.NDArray[np.float32]
    affine: Array
    mask: npt.NDArray[np.uint8] | None = None

    @property
    def spacing(self) -> Array:
        """[3] voxel size in mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    @property
    def centre(self) -> Array:
        """[3] scanner mm of the middle of the field of view."""
        middle = (np.asarray(self.image.shape) - 1) / 2.0
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])
