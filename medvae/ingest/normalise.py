"""From stored numbers to a volume's voxels, and from any axes to the closest RAS+."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medvae import modality as modalities
from medvae.errors import InputError

Voxels = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]

INT16 = np.iinfo(np.int16)
# Work on this many voxels at a time, so that float64 never holds a whole volume.
SLAB = 1 << 22
SPACING = (1e-3, 100.0)
FARTHEST = 1e5
# Directions closer to one plane than this are a damaged header, not an oblique scan.
FLATTEST = 0.1


def rescaled(
    stored: Voxels, slope: float = 1.0, intercept: float = 0.0, *, reuse: bool = False
) -> Voxels:
    """`stored * slope + intercept`: int16 where that is exact for every voxel, else float32.

    Args:
        stored: [X, Y, Z], any integer or floating type and byte order.
        reuse: the voxels may take the place of `stored`, which is worthless afterwards.

    Raises:
        InputError: the scale is 0 or not finite, or no voxel is finite.
    """
    if not (np.isfinite(slope) and np.isfinite(intercept)) or slope == 0:
        raise InputError("its intensity scale is 0 or not a finite number")
    if (whole := _in_whole_numbers(stored, slope, intercept, reuse)) is not None:
        return whole
    slabs = _slabs(stored.shape)
    exact = all(_is_whole(_scaled(stored[s], slope, intercept)) for s in slabs)
    voxels = np.empty(stored.shape, np.int16 if exact else np.float32, order="F")
    some = False
    with np.errstate(over="ignore"):
        for s in slabs:
            voxels[s] = _scaled(stored[s], slope, intercept)
            some = some or exact or bool(np.isfinite(voxels[s]).any())
    if not some:
        raise InputError("none of its voxels is a finite number")
    return voxels


def _in_whole_numbers(stored: Voxels, slope: float, intercept: float, reuse: bool) -> Voxels | None:
    """int16 without a detour over fractions, where the scale and its results are whole and fit."""
    if stored.dtype.kind not in "iu" or slope != int(slope) or intercept != int(intercept):
        return None
    ends = [int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max())]
    if not _fits(min(ends), max(ends)) or not _fits(int(slope), int(slope)):
        return None
    # Wraps around on the way and back again: arithmetic of whole numbers modulo 2**16.
    fits = reuse and stored.flags.writeable and stored.dtype in (np.int16, np.uint16)
    voxels = stored.view(np.int16) if fits else stored.astype(np.int16)
    if slope != 1:
        voxels *= np.int16(int(slope))
    if intercept != 0:
        voxels += np.uint16(int(intercept) % (1 << 16)).astype(np.int16)
    return voxels


def _slabs(shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
    step = max(1, SLAB // max(1, shape[0] * shape[1]))
    return [(slice(None), slice(None), slice(z, z + step)) for z in range(0, shape[2], step)]


def _scaled(stored: Voxels, slope: float, intercept: float) -> Voxels:
    values = stored.astype(np.float64)
    if slope != 1:
        values *= slope
    if intercept != 0:
        values += intercept
    return values


def _fits(low: float, high: float) -> bool:
    return bool(INT16.min <= low and high <= INT16.max)


def _is_whole(values: Voxels) -> bool:
    # NaN fails the comparisons, so it makes a volume float32.
    return _fits(values.min(), values.max()) and bool((values == np.rint(values)).all())


def checked(affine: npt.NDArray[Any], shape: tuple[int, ...]) -> Affine:
    """The affine as float64, if it places voxels in a possible scanner.

    Raises:
        InputError: not finite, singular, or with impossible voxel sizes or position.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError("its geometry is not a finite matrix")
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if spacing.min() < SPACING[0] or spacing.max() > SPACING[1]:
        raise InputError("its voxel sizes are impossible: expected 0.001 to 100 mm")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < FLATTEST:
        raise InputError("its geometry is singular: the axes lie in one plane")
    corner = affine @ np.array([*np.asarray(shape[:3], dtype=np.float64) - 1, 1.0])
    if max(np.abs(affine[:3, 3]).max(), np.abs(corner[:3]).max()) > FARTHEST:
        raise InputError("its geometry places it more than 100 m from the scanner")
    affine[3] = 0.0, 0.0, 0.0, 1.0
    return affine


def closest_canonical(voxels: Voxels, affine: Affine) -> tuple[Voxels, Affine]:
    """Permute and flip axes so that they point right, anterior, superior as nearly as can be.

    No voxel is interpolated; an oblique affine stays oblique.
    """
    orientation = io_orientation(affine)
    moved = affine @ inv_ornt_aff(orientation, voxels.shape)
    return apply_orientation(voxels, orientation), moved


def finite(voxels: Voxels) -> Voxels:
    """The voxels that are finite numbers: [N] of fractions, all of whole numbers as they are."""
    return voxels if voxels.dtype.kind in "iu" else voxels[np.isfinite(voxels)]


def ends(voxels: Voxels) -> tuple[float, float]:
    """The lowest and the highest finite voxel; NaN where none is finite."""
    inside = finite(voxels)
    return (float(inside.min()), float(inside.max())) if inside.size else (np.nan, np.nan)


def plausible(extremes: tuple[float, float], modality: str) -> None:
    """Refuse intensities that cannot be in the modality's units.

    Args:
        extremes: `ends` of the voxels.

    Raises:
        InputError: the lowest or the highest finite voxel is out of the modality's range.
    """
    kind = modalities.get(modality)
    if kind.plausible is None or np.isnan(extremes[0]):
        return
    low, high = kind.plausible
    if not low <= extremes[0] <= extremes[1] <= high:
        raise InputError(
            f"its intensities run from {extremes[0]:g} to {extremes[1]:g}, which cannot be "
            f"{kind.units.words}: convert it first"
        )
