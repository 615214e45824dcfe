"""Whether a grid is of a size that scans of people have, or its lengths are in another unit."""

from __future__ import annotations

from collections.abc import Sequence

# Millimetres. The finest voxels of clinical scanners (temporal bone, teeth) have 0.08 to 0.2 mm;
# none is as long as 20 mm.
SMALLEST_VOXEL, LARGEST_VOXEL = 0.05, 20.0
# A head of 256 mm in voxels of 1 mm, its numbers taken for centimetres, is 25.6 mm wide in voxels
# of 0.1 mm. Voxels as fine as that belong to the smallest fields of view, of teeth and ears, which
# are 40 mm wide and more.
FINE_VOXEL, SMALLEST_FIELD = 0.35, 40.0
# A trunk of 500 mm in voxels of 0.98 mm is then 50 mm wide in voxels of 0.098 mm.
FINEST_VOXEL, SMALL_FIELD = 0.1, 80.0
# The bore of a scanner is at most 0.9 m wide, a table and the person on it at most 2.2 m long.
WIDEST, LONGEST = 1000.0, 2500.0


def is_unusual(spacing: Sequence[float], shape: Sequence[int]) -> bool:
    """Whether a grid is larger or smaller than scans of people are.

    Args:
        spacing: [3] of voxels, millimetres.
        shape: [3] of the grid, in voxels.
    """
    if min(spacing) < SMALLEST_VOXEL or max(spacing) > LARGEST_VOXEL:
        return True
    _, wide, long = sorted(step * count for step, count in zip(spacing, shape, strict=True))
    if wide > WIDEST or long > LONGEST:
        return True
    fine = min(spacing) <= FINE_VOXEL and long < SMALLEST_FIELD
    return fine or (min(spacing) <= FINEST_VOXEL and long < SMALL_FIELD)
