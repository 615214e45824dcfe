"""A label map brought onto the grid of its scan (runs in the confined worker only)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, inv_ornt_aff

from medvae.errors import InputError
from medvae.ingest.places import MASK_SHIFT, farthest
from medvae.ingest.stored import Affine, Voxels, times


def on_axes_of(
    voxels: Voxels,
    own: Affine,
    shape: tuple[int, ...],
    affine: Affine,
    *,
    is_part: bool = False,
) -> npt.NDArray[Any]:
    """Voxels with their axes permuted and flipped to be those of another grid of the same place.

    Args:
        is_part: the grid is a part of the other one, which is filled up with 0.

    Raises:
        InputError: no permutation and flip makes the two grids one.
    """
    axes = np.rint(np.linalg.solve(affine, own)[:3, :3])
    elsewhere = InputError("its grid is not that of the image in space")
    if not (np.abs(axes).sum(0) == 1).all() or not (np.abs(axes).sum(1) == 1).all():
        raise (
            InputError(f"its size is {times(voxels.shape)}, the image's is {times(shape)}")
            if (voxels.shape != shape)
            else elsewhere
        )
    to = np.abs(axes).argmax(axis=0)
    orientation = np.stack([to, axes[to, range(3)]], axis=1)
    moved = own @ inv_ornt_aff(orientation, voxels.shape)
    turned = np.asarray(apply_orientation(voxels, orientation))
    if is_part:
        turned, moved = _filled_up(turned, moved, shape, affine)
    if turned.shape != shape:
        raise InputError(f"its size is {times(turned.shape)}, the image's is {times(shape)}")
    if farthest(moved, affine, shape) > MASK_SHIFT * np.sqrt((affine[:3, :3] ** 2).sum(0)).min():
        raise elsewhere
    return turned


def _filled_up(
    voxels: Voxels, own: Affine, shape: tuple[int, ...], affine: Affine
) -> tuple[Voxels, Affine]:
    """Voxels of a part of a grid on the whole grid, and the affine that they have there."""
    first = np.rint(np.linalg.solve(affine, own)[:3, 3]).astype(int)
    if (first < 0).any() or (first + voxels.shape > shape).any():
        raise InputError("it is a part of another grid than that of the image")
    whole = np.zeros(shape, voxels.dtype)
    whole[tuple(slice(a, a + n) for a, n in zip(first, voxels.shape, strict=True))] = voxels
    moved = own.copy()
    moved[:3, 3] -= own[:3, :3] @ first
    return whole, moved
