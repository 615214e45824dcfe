"""Power by frequency of what the template leaves unexplained, and texture drawn from it."""

from __future__ import annotations

import numpy as np
from scipy import fft

from medvae.atlas.basis import Array, Shape
from medvae.atlas.statistics import power_law
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE

# Shell edges in cycles per voxel; the last shell is open.
EDGES = np.array([0.0, 0.03, 0.06, 0.09, 0.13, 0.18, 0.25, 0.35])
SHELLS = len(EDGES)


def frequencies(shape: Shape) -> Array:
    """[X, Y, Z] radial frequency of each DCT coefficient, cycles per voxel."""
    axes = [np.arange(n) / (2.0 * n) for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(x**2 + y**2 + z**2)


def shell_of(shape: Shape) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """[X, Y, Z] int64: which shell each DCT coefficient belongs to."""
    return np.digitize(frequencies(shape), EDGES[1:]).astype(np.int64)


def shell_power(field: Array) -> Array:
    """[SHELLS] power of a field [X, Y, Z]; sums to its mean square."""
    coefficients = fft.dctn(field, norm="ortho")
    power = np.bincount(
        shell_of(field.shape).ravel(),
        weights=(coefficients**2).ravel(),
        minlength=SHELLS,
    )
    return np.asarray(power / field.size)


def expected_power(shape: Shape) -> Array:
    """[SHELLS] public spectrum of a standardised image: sums to 1."""
    power = power_law(frequencies(shape), IMAGE_CORNER, IMAGE_SLOPE)
    summed = np.bincount(shell_of(shape).ravel(), weights=power.ravel(), minlength=SHELLS)
    return np.asarray(summed, dtype=np.float64)


def filtered(field: Array, gains: Array) -> Array:
    """The field with each shell's amplitude multiplied by its gain [SHELLS]."""
    shape: Shape = field.shape
    coefficients = fft.dctn(field, norm="ortho") * gains[shell_of(shape)]
    return np.asarray(fft.idctn(coefficients, norm="ortho"))


def texture(shape: Shape, power: Array, rng: np.random.Generator) -> Array:
    """A Gaussian field [X, Y, Z] with the public law's slope within shells of given power."""
    law = power_law(frequencies(shape), IMAGE_CORNER, IMAGE_SLOPE)
    ratio = power / np.maximum(expected_power(shape), 1e-12)
    deviation = np.sqrt(law * ratio[shell_of(shape)] * np.prod(shape))
    return np.asarray(fft.idctn(rng.standard_normal(shape) * deviation, norm="ortho"))
