"""What had to be resampled of a part before it could be joined, in words."""

from __future__ import annotations

import numpy as np

from medvae.stitching.parts import Matrix
from medvae.volume import Volume

# Less than so much is the accuracy of a registration, in parts of a voxel size and in degrees.
SAME_SIZE, SAME_DIRECTION = 0.01, 0.5


def resampled(part: Volume, first: Volume, matrix: Matrix) -> tuple[str, ...]:
    """In what a part differs from the grid of the first, so that its voxels were interpolated.

    Nothing of a part that was moved alone.

    Args:
        matrix: [4, 4] the part's millimetres to the first part's (`Placement.matrix`).
    """
    placed, grid = matrix[:3, :3] @ part.affine[:3, :3], first.affine[:3, :3]
    have, want = (np.sqrt((axes**2).sum(axis=0)) for axes in (placed, grid))
    found = []
    if np.abs(have / want - 1).max() > SAME_SIZE:
        found.append(f"voxels of {_mm(have)} became {_mm(want)}, those of the first part")
    angles = np.degrees(np.arccos(np.clip(((placed / have) * (grid / want)).sum(axis=0), -1, 1)))
    if angles.max() > SAME_DIRECTION:
        found.append(f"its axes were turned by {angles.max():.1f} degrees onto the first part's")
    return tuple(found)


def _mm(spacing: Matrix) -> str:
    return " x ".join(f"{step:.3g}" for step in spacing) + " mm"
