"""Scales of the differences between patients: power of displacements and residuals, grey values,
sizes, and orientation of label boundaries.

Sensitivity. Each statistic is a bounded function of one volume: its difference from a public
expectation in units of a public std. The vector of all of them, over the square root of their
number, is clipped to `CLIP` per patient, so one patient changes the noisy mean by at most CLIP / N.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas import boundary_orientation, intensity, spectrum
from medvae.atlas.basis import Array, Basis
from medvae.atlas.displacement import prior_std
from medvae.atlas.shrinkage import shells

CLIP = 1.0
# Public: std of a cohort's mean around the expectation, in units of the std between patients.
COHORT_STD = 0.7
# Public: fraction of an image's power that a template leaves unexplained.
UNEXPLAINED = 0.6
# Public: a size that is wrong by a few per cent shows in every sample, so it has a larger weight
# than a power. Sizes are squashed by tanh (at `SATURATION` stds) so that outliers do not exhaust
# the clip; `decode` inverts it.
SIZE_WEIGHT, SATURATION = 3.0, 1.2
# Public: std of each component of a boundary's normal around the template's, and both the expected
# value and the std of its squared difference.
NORMAL_STD, NORMAL_SQUARE = 0.3, 0.06


@dataclass(frozen=True)
class Scales:
    """Means of the statistics over patients.

    Attributes:
        deformation: [S] power of displacements by shell, over the public prior's.
        residual: [SHELLS] power of image residuals by shell, in a standardised image.
        intensity: [COUNT] variance of quantile coefficients.
        size: cube root of the volume of all labels over the template's at its mean displacement.
        orientation: [B STATISTICS] of label boundaries (see `boundary_orientation.statistics`).
    """

    deformation: Array
    residual: Array
    intensity: Array
    size: float
    orientation: Array


@dataclass(frozen=True)
class ScaleCode:
    """Code of the scales as one vector of differences from public expectations.

    Attributes:
        basis: of one displacement component.
        shape: of the grid, in voxels.
        boundaries: number of measured boundaries (see `boundary_orientation.boundary_count`).
    """

    basis: Basis
    shape: tuple[int, int, int]
    boundaries: int = 0

    def _prior(self) -> tuple[Array, Array]:
        """[dimension] expected statistics, and their std between patients.

        The std of the size is wide enough for every cohort.
        """
        deformation = np.ones(len(shells(self.basis.frequency)))
        grey = np.ones(intensity.COUNT)
        residual = np.full(spectrum.SHELLS, UNEXPLAINED)
        size = np.ones(1)
        components = boundary_orientation.STATISTICS - 1
        normal = np.tile(np.append(np.zeros(components), NORMAL_SQUARE), self.boundaries)
        normal_std = np.append(np.full(components, NORMAL_STD), NORMAL_SQUARE)
        normal_std = np.tile(normal_std, self.boundaries)
        expected = np.concatenate([deformation, residual, grey, normal, size])
        std = np.concatenate([deformation * 0.7, residual, grey * 1.4, normal_std, size * 0.15])
        return expected, std

    @property
    def dimension(self) -> int:
        return len(self._prior()[0])

    @property
    def _weights(self) -> Array:
        """[dimension] factor of each statistic in the vector."""
        return np.concatenate([np.ones(self.dimension - 1), [SIZE_WEIGHT]])

    def encode(self, scales: Scales) -> Array:
        """[dimension] vector, of norm about 1, of one volume's statistics."""
        statistics = np.concatenate(
            [
                scales.deformation,
                _ratio(scales.residual, spectrum.expected_power(self.shape)),
                scales.intensity / intensity.VOLUME_STD**2,
                scales.orientation,
                [scales.size],
            ]
        )
        expected, std = self._prior()
        scores = np.clip((statistics - expected) / std, -3.0, 3.0)
        scores[-1] = SATURATION * np.tanh(scores[-1] / SATURATION)
        return np.asarray(self._weights * scores / np.sqrt(self.dimension))

    def decode(self, noisy: Array, noise_std: float) -> Scales:
        """Mean statistics of a noisy vector, shrunk to the expectation.

        Powers are limited to a tenth and four times of the expected ones.
        """
        expected, std = self._prior()
        unit = np.sqrt(self.dimension) / self._weights
        shrinkage = COHORT_STD**2 / (COHORT_STD**2 + (noise_std * unit) ** 2)
        scores = noisy * unit * shrinkage
        scores[-1] = SATURATION * np.arctanh(np.clip(scores[-1] / SATURATION, -0.98, 0.98))
        statistics = expected + std * scores
        counts = [len(shells(self.basis.frequency)), spectrum.SHELLS, intensity.COUNT]
        edges = np.cumsum([*counts, self.boundaries * boundary_orientation.STATISTICS])
        powers = np.clip(statistics, 0.1 * expected, 4.0 * expected)
        deformation, residual, grey, _, _ = np.split(powers, edges)
        *_, orientation, size = np.split(statistics, edges)
        return Scales(
            deformation,
            residual * spectrum.expected_power(self.shape),
            grey * intensity.VOLUME_STD**2,
            float(np.clip(size[0], 0.7, 1.4)),
            orientation,
        )


def displacement_power(coefficients: Array, basis: Basis) -> Array:
    """[S] mean square of displacement coefficients [3, K] over the prior's, by shell."""
    whitened = coefficients / prior_std(basis)
    return np.array([(whitened[:, shell] ** 2).mean() for shell in shells(basis.frequency)])


def relative_size(shapes: Array, template: Array) -> float:
    """Cube root of the volume of all labels over the template's; 1 if either has none."""
    if not len(shapes):
        return 1.0
    patient, reference = (shapes[0] < 0.0).sum(), (template[0] < 0.0).sum()
    return float(np.cbrt(patient / reference)) if patient and reference else 1.0


def _ratio(values: Array, expected: Array) -> Array:
    """`values` / `expected`; 1 where a small grid lacks the shell and nothing is expected."""
    return np.divide(values, expected, out=np.ones_like(values), where=expected > 0)
