"""What a noisy mean says where it is known how figures go together.

Grey values of tissues differ between scanners all at once, or kind by kind: a sequence that shows
one fluid bright shows all of them so. Noise has no such order, so a released vector is read as one
of a normal population with the public correlation, and the noise is taken off it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.geometry import Array

# Variances of a population relative to what is expected publicly: those that are looked at, and
# the standard deviation of their logarithm before anything is released.
_RATIOS: Final = np.geomspace(0.05, 8.0, 40)
_RATIO_STD: Final = 1.0
# Log likelihood ratio to no difference at all that noise alone reaches once in a hundred times
# (half of a chi-squared variable of one degree, at a border of what is possible).
_CHANCE: Final = 2.7
# Directions in which figures hardly differ keep this part of a figure's variance.
_LEAST: Final = 1e-6


@dataclass(frozen=True)
class Related:
    """How the figures of an entry go together; public.

    Attributes:
        covariance: [F, F] of cohorts' means, in the units that patients are measured in.
        kinds: [F] 0, 1, ...: each kind may differ more or less than is expected. Figures of
            different kinds are not correlated.
    """

    covariance: Array
    kinds: npt.NDArray[np.intp]

    def estimate(self, released: Array, sigma: float) -> Array:
        """[F] posterior mean of a cohort's figures.

        Post-processing of a released vector. The population's variance is that which makes the
        vector likeliest (empirical Bayes, as in Efron and Morris 1973), near the expected one
        where the noise hides it; zero, public people, where noise alone explains the vector.

        Args:
            released: [F] deviations from public figures, in those units.
            sigma: noise deviation of each.
        """
        if sigma == 0.0:
            return released
        values = np.zeros_like(released)
        for own in self._of_kinds():
            powers, axes = self._axes(own)
            along = axes.T @ released[own]
            ratio = _likeliest(along, powers, sigma)
            values[own] = axes @ (along * ratio * powers / (ratio * powers + sigma**2))
        return values

    def unknown(self, noise: Array) -> Array:
        """[F, F] covariance of a cohort's figures given what was released of them.

        For a population as it is expected.

        noise: [F] deviation of each, the same in a kind; infinite where nothing was released.
        """
        covariance = np.zeros_like(self.covariance)
        for own in self._of_kinds():
            powers, axes = self._axes(own)
            variance = float(noise[own][0]) ** 2
            left = powers if np.isinf(variance) else powers * variance / (powers + variance)
            covariance[np.ix_(own, own)] = (axes * left) @ axes.T
        return covariance

    def part(self, own: slice) -> Related:
        """Of some of the figures."""
        return Related(self.covariance[own, own], self.kinds[own])

    def _of_kinds(self) -> list[npt.NDArray[np.bool_]]:
        """For each kind [F] which figures are of it."""
        return [self.kinds == kind for kind in np.unique(self.kinds)]

    def _axes(self, own: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
        """Variances [n] along the axes [n, n] of a kind's covariance."""
        powers, axes = np.linalg.eigh(self.covariance[np.ix_(own, own)])
        return np.maximum(powers, _LEAST), axes


def _likeliest(values: Array, powers: Array, sigma: float) -> float:
    """Ratio of the population's variance to the expected one, given noisy values; or 0."""
    variances = np.append(_RATIOS, 0.0)[:, None] * powers + sigma**2
    likelihood = -0.5 * (np.log(variances) + values**2 / variances).sum(axis=1)
    likelihood, alone = likelihood[:-1], likelihood[-1]
    if likelihood.max() - alone <= _CHANCE:
        return 0.0
    expected = -0.5 * (np.log(_RATIOS) / _RATIO_STD) ** 2
    return float(_RATIOS[np.argmax(likelihood + expected)])
