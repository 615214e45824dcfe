"""Power spectra by shell of radial frequency, and random texture with such a spectrum."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft

from medvae.atlas.basis import Array, Shape
from medvae.atlas.shrinkage import power_law
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE

# Shell edges in cycles per voxel; the last shell is open.
EDGES = np.array([0.0, 0.03, 0.06, 0.09, 0.13, 0.18, 0.25, 0.35])
SHELLS = len(EDGES)
# Caches hold arrays that depend on the shape alone, for this many shapes.
CACHED_SHAPES = 4


def frequencies(shape: Shape) -> Array:
    """[X, Y, Z] radial frequency of each DCT coefficient, in cycles per voxel."""
    axes = [np.arange(n) / (2.0 * n) for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(x**2 + y**2 + z**2)


@lru_cache(maxsize=CACHED_SHAPES)
def shell_of(shape: Shape) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] shell index of each DCT coefficient; read-only."""
    shell = np.digitize(frequencies(shape), EDGES[1:]).astype(np.uint8)
    shell.setflags(write=False)
    return shell


def shell_power(field: Array) -> Array:
    """[SHELLS] power of a field [X, Y, Z]; the sum is its mean square."""
    return _power(fft.dctn(field, norm="ortho"))


def _power(coefficients: Array) -> Array:
    power = np.bincount(
        shell_of(coefficients.shape).ravel(),
        weights=(coefficients**2).ravel(),
        minlength=SHELLS,
    )
    return np.asarray(power / coefficients.size)


@lru_cache(maxsize=CACHED_SHAPES)
def expected_power(shape: Shape) -> Array:
    """[SHELLS] public spectrum of a standardised image, summing to 1; read-only."""
    power = power_law(frequencies(shape), IMAGE_CORNER, IMAGE_SLOPE)
    summed = np.bincount(shell_of(shape).ravel(), weights=power.ravel(), minlength=SHELLS)
    expected: Array = summed.astype(np.float64)
    expected.setflags(write=False)
    return expected


@lru_cache(maxsize=CACHED_SHAPES)
def _coefficient_std(shape: Shape) -> Array:
    """[X, Y, Z] std of DCT coefficients of a field with the expected power in every shell."""
    law = power_law(frequencies(shape), IMAGE_CORNER, IMAGE_SLOPE)
    std: Array = np.sqrt(law * np.prod(shape))
    std.setflags(write=False)
    return std


def filtered(field: Array, gains: Callable[[Array], Array]) -> Array:
    """Multiply each shell of a field [X, Y, Z] by its gain.

    gains: maps the field's power [SHELLS] to gains of the amplitude [SHELLS].
    """
    coefficients = fft.dctn(field, norm="ortho")
    coefficients *= gains(_power(coefficients)).take(shell_of(coefficients.shape))
    return np.asarray(fft.idctn(coefficients, norm="ortho", overwrite_x=True))


def texture(shape: Shape, power: Array, rng: np.random.Generator) -> Array:
    """Gaussian field [X, Y, Z] with the power [SHELLS], and the public slope within each shell."""
    ratio = np.sqrt(power / np.maximum(expected_power(shape), 1e-12))
    coefficients = rng.standard_normal(shape)
    coefficients *= _coefficient_std(shape)
    coefficients *= ratio.take(shell_of(shape))
    return np.asarray(fft.idctn(coefficients, norm="ortho", overwrite_x=True))
