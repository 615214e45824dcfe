"""What varies within a tissue: a fine and a coarse Gaussian field, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import erf

from medvae.anatomy.registration.geometry import Array

# Standard deviation of the kernels that make the fields, in mm.
FINE_MM, COARSE_MM = 1.6, 4.0
# The same of the field along the surface, where fat changes over centimetres.
COAT_MM = 15.0
# The same of the field within muscles, whose bundles run along the body: x, y, z.
BUNDLE_MM = (3.5, 3.5, 14.0)
# Beyond so many standard deviations the coarse field of a tissue of several organs is flat: it has
# patches with borders between them.
PATCHES = 0.5
# Blocks whose means give the coarse part, in mm, and the part of its variance that they keep:
# the mean of exp(-(d / 2 COARSE_MM)^2) over pairs of points of a block.
BLOCK_MM, KEPT = 12.0, 0.41
# Voxels that a block's mean needs.
_LEAST = 8


def field(
    shape: tuple[int, int, int],
    spacing: Array,
    width: float | Sequence[float],
    random: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """[X, Y, Z] Gaussian field of variance 1; width: of its kernel, in mm, one or three."""
    # Four voxels a width are enough: a coarse field is made on a coarse grid.
    widths = np.broadcast_to(np.asarray(width, np.float64), 3)
    step = np.maximum(np.floor(widths / spacing / 2.0), 1.0).astype(int)
    small = tuple(int(-(-n // s)) + 1 for n, s in zip(shape, step, strict=True))
    values = random.standard_normal(small, np.float32)
    sigma = widths / (spacing * step)
    for axis, (n, width_voxels) in enumerate(zip(small, sigma, strict=True)):
        if width_voxels < 0.3:
            continue
        values = ndimage.gaussian_filter1d(values, width_voxels, axis=axis, mode="wrap")
        response = np.zeros(n)
        response[n // 2] = 1.0
        kernel = ndimage.gaussian_filter1d(response, width_voxels, mode="wrap")
        values /= np.float32(np.sqrt((kernel**2).sum()))
    for axis, (n, s) in enumerate(zip(shape, step, strict=True)):
        if s > 1:
            values = _between(values, axis, n, int(s))
        values = np.take(values, np.arange(n), axis=axis) if values.shape[axis] != n else values
    return np.ascontiguousarray(values)


def _between(
    values: npt.NDArray[np.float32], axis: int, n: int, step: int
) -> npt.NDArray[np.float32]:
    """`n` voxels along an axis where there is one every `step`, linearly between them."""
    at = np.arange(n) / step
    low = np.floor(at).astype(int)
    shape = [1, 1, 1]
    shape[axis] = n
    part = (at - low).astype(np.float32).reshape(shape)
    first, second = np.take(values, low, axis=axis), np.take(values, low + 1, axis=axis)
    return np.asarray(first + part * (second - first), np.float32)


def patches(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A Gaussian field of variance 1 as dark and bright patches, of variance 1 too."""
    inside = erf(PATCHES / np.sqrt(2.0))
    edge = PATCHES * np.sqrt(2.0 / np.pi) * np.exp(-0.5 * PATCHES**2)
    variance = inside - edge + PATCHES**2 * (1.0 - inside)
    return np.asarray(np.clip(values, -PATCHES, PATCHES) / np.float32(np.sqrt(variance)))


def textures(
    shape: tuple[int, int, int], spacing: Array, together: Array, random: np.random.Generator
) -> list[list[npt.NDArray[np.float32]]]:
    """For each of C images a fine and a coarse field, patches, and a field along the surface.

    together: [C, C] lower triangular, rows of norm 1: each field of image c is the sum over d of
        `together[c, d]` times independent ones, so it is correlated with those of others.
    """
    widths = (FINE_MM, COARSE_MM, BUNDLE_MM, COAT_MM)
    images = [[field(shape, spacing, width, random) for width in widths] for _ in together]
    # From the last on: an image needs the independent fields of those before it.
    for at in reversed(range(len(images))):
        for kind in range(len(widths)):
            mixed = np.float32(together[at, at]) * images[at][kind]
            for other in range(at):
                mixed += np.float32(together[at, other]) * images[other][kind]
            images[at][kind] = mixed
    for own in images:
        own[2] = patches(own[2])
    return images


def deviations(
    residual: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    groups: npt.NDArray[np.intp],
    count: int,
    blocks: npt.NDArray[np.intp],
) -> tuple[Array, Array]:
    """[count] fine and [count] coarse standard deviation of each group; NaN without voxels.

    Args:
        residual, weights: [P] of voxels; groups: [P]; blocks: [P] number of the voxel's block.
    """
    mass = np.bincount(groups, weights, count)
    moment = np.bincount(groups, weights * residual, count)
    square = np.bincount(groups, weights * residual**2, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = moment / mass
        total = square / mass - mean**2
        cell = blocks * count + groups
        voxels = np.bincount(cell)
        own = np.bincount(cell, weights)
        means = np.bincount(cell, weights * residual) / own
        used = np.flatnonzero((voxels >= _LEAST) & (own > 0))
        group = used % count
        off = (means[used] - mean[group]) ** 2
        mass_used = np.bincount(group, own[used], count)
        between = np.bincount(group, own[used] * off, count) / mass_used
        # Few voxels have a mean that differs by chance, too.
        chance = np.bincount(group, own[used] / voxels[used], count) / mass_used
        coarse = (between - total * chance) / (KEPT - chance)
        coarse = np.clip(np.nan_to_num(coarse), 0.0, total)
        return np.sqrt(np.maximum(total - coarse, 0.0)), np.sqrt(np.maximum(coarse, 0.0))
