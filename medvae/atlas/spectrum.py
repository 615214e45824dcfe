"""Power by frequency of what the template leaves unexplained, and texture drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft

from medvae.atlas.basis import Array, Shape
from medvae.atlas.statistics import power_law
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE

# Shell edges in cycles per voxel; the last shell is open.
EDGES = np.array([0.0, 0.03, 0.06, 0.09, 0.13, 0.18, 0.25, 0.35])
SHELLS = len(EDGES)
# What depends on a grid's shape alone is kept for so many grids.
GRIDS = 4


def frequencies(shape: Shape) -> Array:
    """[X, Y, Z] radial frequency of each DCT coefficient, cycles per voxel."""
    axes = [np.arange(n) / (2.0 * n) for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(x**2 + y**2 + z**2)


@lru_cache(maxsize=GRIDS)
def shell_of(shape: Shape) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] uint8: which shell each DCT coefficient belongs to (not to be written to)."""
    found = np.digitize(frequencies(shape), EDGES[1:]).astype(np.uint8)
    found.setflags(write=False)
    return found


def shell_power(field: Array) -> Array:
    """[SHELLS] power of a field [X, Y, Z]; sums to its mean square."""
    return _power(fft.dctn(field, norm="ortho"))


def _power(coefficients: Array) -> Array:
    power = np.bincount(
        shell_of(coefficients.shape).ravel(),
        weights=(coefficients**2).ravel(),
        minlength=SHELLS,
    )
    return np.asarray(power / coefficients.size)


@lru_cache(maxsize=GRIDS)
def expected_power(shape: Shape) -> Array:
    """[SHELLS] public spectrum of a standardised image: sums to 1 (not to be written to)."""
    power = power_law(frequencies(shape), IMAGE_CORNER, IMAGE_SLOPE)
    summed = np.bincount(shell_of(shape).ravel(), weights=power.ravel(), minlength=SHELLS)
    expected: Array = summed.astype(np.float64)
    expected.setflags(write=False)
    return expected


@lru_cache(maxsize=GRIDS)
def _deviation(shape: Shape) -> Array:
    """[X, Y, Z] of the DCT coefficients of a field with the expected power in every shell."""
    law = power_law(frequencies(shape), IMAGE_CORNER, IMAGE_SLOPE)
    deviation: Array = np.sqrt(law * np.prod(shape))
    deviation.setflags(write=False)
    return deviation


def filtered(field: Array, gains: Callable[[Array], Array]) -> Array:
    """The field with each shell's amplitude multiplied by its gain.

    gains: of the field's power [SHELLS], a gain [SHELLS].
    """
    coefficients = fft.dctn(field, norm="ortho")
    coefficients *= gains(_power(coefficients)).take(shell_of(coefficients.shape))
    return np.asarray(fft.idctn(coefficients, norm="ortho", overwrite_x=True))


def texture(shape: Shape, power: Array, rng: np.random.Generator) -> Array:
    """A Gaussian field [X, Y, Z] with the public law's slope within shells of given power."""
    ratio = np.sqrt(power / np.maximum(expected_power(shape), 1e-12))
    coefficients = rng.standard_normal(shape)
    coefficients *= _deviation(shape)
    coefficients *= ratio.take(shell_of(shape))
    return np.asarray(fft.idctn(coefficients, norm="ortho", overwrite_x=True))
