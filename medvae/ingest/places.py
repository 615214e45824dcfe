"""Whether two grids are at one place in space."""

from __future__ import annotations

import numpy as np

from medvae.ingest.stored import Affine

# Part of a voxel by which grids of one place may differ.
MASK_SHIFT = 0.1


def farthest(affine: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """The largest distance between the two places of a corner voxel."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(8)])
    return float(np.sqrt((((affine - other) @ corners)[:3] ** 2).sum(axis=0)).max())
