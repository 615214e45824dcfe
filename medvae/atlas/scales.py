"""How much patients differ: power of fields and residuals, spread of grey values, sizes, facings.

Sensitivity. Each figure is a bounded function of one volume, written as its deviation
from a public expectation in units of a public spread; the vector of all of them, over the
square root of their number, is clipped to `CLIP` per patient: the mean moves by at most
CLIP / N.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas import facing, intensity, spectrum
from medvae.atlas.basis import Array, Basis
from medvae.atlas.displacement import prior_deviation
from medvae.atlas.statistics import shells

CLIP = 1.0
# Public: how far the cohort's mean may be from the expectation, in individual spreads.
COHORT = 0.7
# Public: part of an image's power that a template leaves unexplained.
UNEXPLAINED = 0.6
# Public: a size off by a few parts of a hundred shows in every volume, a power does not. So that
# odd sizes do not use up the clip, they saturate (in spreads), and the mean is turned back.
SIZE_EMPHASIS, SATURATION = 3.0, 1.2
# Public: how far from the template's a border faces (in each of three, and the square of it all),
# and how much of that patients are expected to have.
TURN, TURNS = 0.3, 0.06


@dataclass(frozen=True)
class Scales:
    """Mean figures over patients.

    Attributes:
        motion: [S] power of displacements by shell, over the public prior's.
        residual: [SHELLS] power of image residuals by shell, of a standardised image.
        intensity: [COUNT] variance of quantile coefficients.
        size: cube root of the volume of all labels over the template's at its mean displacement.
        facing: [borders facing.FIGURES] how borders between labels face (see `facing.figures`).
    """

    motion: Array
    residual: Array
    intensity: Array
    size: float
    facing: Array


@dataclass(frozen=True)
class ScaleCode:
    """The figures as one vector around public expectations.

    Attributes:
        borders: between labels, as many as `facing.borders` says.
    """

    basis: Basis
    shape: tuple[int, int, int]
    borders: int = 0

    def _expectation(self) -> tuple[Array, Array]:
        """Expected figure and spread between individuals, [dimension].

        The size's spread is one that holds every cohort's.
        """
        motion = np.ones(len(shells(self.basis.frequency)))
        grey = np.ones(intensity.COUNT)
        residual = np.full(spectrum.SHELLS, UNEXPLAINED)
        size = np.ones(1)
        turn = np.tile(np.append(np.zeros(facing.FIGURES - 1), TURNS), self.borders)
        apart = np.tile(np.append(np.full(facing.FIGURES - 1, TURN), TURNS), self.borders)
        expected = np.concatenate([motion, residual, grey, turn, size])
        spread = np.concatenate([motion * 0.7, residual, grey * 1.4, apart, size * 0.15])
        return expected, spread

    @property
    def dimension(self) -> int:
        return len(self._expectation()[0])

    @property
    def _emphasis(self) -> Array:
        """[dimension] what a figure is multiplied by in the vector, noise against noise."""
        return np.concatenate([np.ones(self.dimension - 1), [SIZE_EMPHASIS]])

    def encode(self, scales: Scales) -> Array:
        """One volume's figures as a vector of norm about 1."""
        figures = np.concatenate(
            [
                scales.motion,
                _ratio(scales.residual, spectrum.expected_power(self.shape)),
                scales.intensity / intensity.BETWEEN**2,
                scales.facing,
                [scales.size],
            ]
        )
        expected, spread = self._expectation()
        bounded = np.clip((figures - expected) / spread, -3.0, 3.0)
        bounded[-1] = SATURATION * np.tanh(bounded[-1] / SATURATION)
        return np.asarray(self._emphasis * bounded / np.sqrt(self.dimension))

    def decode(self, released: Array, noise: float) -> Scales:
        """Released means, shrunk to the expectation; powers never below a tenth of it."""
        expected, spread = self._expectation()
        unit = np.sqrt(self.dimension) / self._emphasis
        trust = COHORT**2 / (COHORT**2 + (noise * unit) ** 2)
        told = released * unit * trust
        told[-1] = SATURATION * np.arctanh(np.clip(told[-1] / SATURATION, -0.98, 0.98))
        figures = expected + spread * told
        counts = [len(shells(self.basis.frequency)), spectrum.SHELLS, intensity.COUNT]
        edges = np.cumsum([*counts, self.borders * facing.FIGURES])
        powers = np.clip(figures, 0.1 * expected, 4.0 * expected)
        motion, residual, grey, _, _ = np.split(powers, edges)
        *_, turn, size = np.split(figures, edges)
        return Scales(
            motion,
            residual * spectrum.expected_power(self.shape),
            grey * intensity.BETWEEN**2,
            float(np.clip(size[0], 0.7, 1.4)),
            turn,
        )


def motion_power(coefficients: Array, basis: Basis) -> Array:
    """[S] mean square of displacement coefficients [3, K] over the prior's, by shell."""
    whitened = coefficients / prior_deviation(basis)
    return np.array([(whitened[:, shell] ** 2).mean() for shell in shells(basis.frequency)])


def relative_size(shapes: Array, template: Array) -> float:
    """Cube root of the volume of all labels over the template's (1 where either has none)."""
    if not len(shapes):
        return 1.0
    have, want = (shapes[0] < 0.0).sum(), (template[0] < 0.0).sum()
    return float(np.cbrt(have / want)) if have and want else 1.0


def _ratio(values: Array, expected: Array) -> Array:
    """`values` / `expected`, 1 where a small grid has no such shell and nothing is expected."""
    return np.divide(values, expected, out=np.ones_like(values), where=expected > 0)
