"""Shifts by which two images overlap: masked normalised correlation of all shifts at once.

The Fourier-domain form of D. Padfield, "Masked object registration in the Fourier domain",
IEEE Transactions on Image Processing 21(5), 2012. Both images are band-passed first, as phase
correlation does, so that fine structure decides and not the slow course of grey values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from medvae.stitching.parts import Array

# Scales of the band, in voxels.
FINE, COARSE = 0.7, 3.0
# An overlap of fewer voxels, or of a smaller part of the smaller image, shows nothing.
LEAST_VOXELS, LEAST_PART = 200, 0.02
# ... and so does one with less than this part of the structure that either image has on average.
LEAST_STRUCTURE = 0.1
# A normal distribution's standard deviation in median absolute deviations.
MAD = 1.4826
ROUNDING = 1e-6

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Surface:
    """Correlations of all shifts of an image against another.

    Attributes:
        correlation: in [-1, 1], 0 where too little overlaps.
        significance: the correlation in standard deviations of those of all other shifts, which
            are what chance gives for images of this kind.
        first: the shift of the first element: index of moved + shift = index of fixed.
    """

    correlation: Array
    significance: Array
    first: tuple[int, ...]

    def peak(
        self, around: npt.NDArray[np.float64] | None = None, within: int = 0
    ) -> tuple[int, ...]:
        """The element of the largest significance: of all, or within so far of a shift."""
        if around is None:
            return _place(np.unravel_index(np.argmax(self.significance), self.significance.shape))
        middle = np.rint(around - np.array(self.first)).astype(int)
        low = np.clip(middle - within, 0, np.array(self.significance.shape) - 1)
        high = np.clip(middle + within + 1, low + 1, self.significance.shape)
        block = self.significance[tuple(map(slice, low, high))]
        index = np.unravel_index(np.argmax(block), block.shape)
        return _place(low + np.array(index))

    def shift(self, element: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """The shift of an element, in voxels."""
        return np.add(element, self.first, dtype=np.float64)


def _place(index: npt.ArrayLike) -> tuple[int, ...]:
    return tuple(int(coordinate) for coordinate in np.asarray(index))


def band(image: Array, mask: Mask) -> Array:
    """Fine structure: the difference of two Gaussian means over what is shown, 0 elsewhere."""
    filtered: Array = np.where(mask, smoothed(image, mask, FINE) - smoothed(image, mask, COARSE), 0)
    return filtered


def smoothed(image: Array, mask: Mask, sigma: float) -> Array:
    """Gaussian mean over what is shown, by axes that have more than one voxel."""
    sigmas = [sigma if size > 1 else 0.0 for size in image.shape]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigmas, mode="constant")
    total = ndimage.gaussian_filter(np.where(mask, image, 0), sigmas, mode="constant")
    return np.asarray(total / np.maximum(weight, ROUNDING), np.float32)


def correlate(fixed: Array, fixed_shown: Mask, moved: Array, moved_shown: Mask) -> Surface:
    """The surface of two images of three axes on grids of one spacing and direction."""
    shape = tuple(a + b - 1 for a, b in zip(fixed.shape, moved.shape, strict=True))
    padded = tuple(fft.next_fast_len(size, real=True) for size in shape)

    def forward(image: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
        return np.asarray(fft.rfftn(image, padded))

    def paired(first: npt.NDArray[np.complex128], other: npt.NDArray[np.complex128]) -> Array:
        full = fft.irfftn(first * other, padded)
        return np.asarray(full[tuple(slice(size) for size in shape)])

    a_mask, b_mask = fixed_shown.astype(np.float64), moved_shown[::-1, ::-1, ::-1].astype(float)
    a = _scaled(fixed) * a_mask
    b = _scaled(moved)[::-1, ::-1, ::-1] * b_mask
    fa, fb, ma, mb = forward(a), forward(b), forward(a_mask), forward(b_mask)
    count = np.maximum(np.rint(paired(ma, mb)), 0)
    enough = count >= max(LEAST_VOXELS, LEAST_PART * min(fixed_shown.sum(), moved_shown.sum()))
    n = np.where(enough, count, 1)
    sum_a, sum_b = paired(fa, mb), paired(ma, fb)
    top = paired(fa, fb) - sum_a * sum_b / n
    var_a = np.maximum(paired(forward(a**2), mb) - sum_a**2 / n, 0)
    var_b = np.maximum(paired(ma, forward(b**2)) - sum_b**2 / n, 0)
    # A corner of background has no structure to go by.
    share = n * LEAST_STRUCTURE
    sure = enough & (var_a > share * _spread(a, a_mask)) & (var_b > share * _spread(b, b_mask))
    bottom = np.sqrt(np.where(sure, var_a * var_b, 1))
    r = np.where(sure, np.clip(top / bottom, -1, 1), 0)
    z = r * np.sqrt(n)
    spread = MAD * float(np.median(np.abs(z[sure]))) if sure.any() else 1.0
    first = tuple(1 - size for size in moved.shape)
    return Surface(r.astype(np.float32), (z / max(spread, 1.0)).astype(np.float32), first)


def _spread(image: npt.NDArray[np.float64], mask: npt.NDArray[np.float64]) -> float:
    """The variance over what is shown."""
    return max(float(np.var(image[mask > 0])), ROUNDING)


def _scaled(image: Array) -> npt.NDArray[np.float64]:
    """Scales an image to unit standard deviation, so that the size of rounding errors is known."""
    return np.asarray(image, np.float64) / max(float(np.std(image)), 1e-12)
