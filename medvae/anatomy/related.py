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

    def estimate(self, released: Array, sigma: float) -> tuple[Array, Array]:
        """Posterior means [F], and what is still unknown of each.

        Post-processing of a released vector. The population's variance is that which makes the
        vector likeliest (empirical Bayes, as in Efron and Morris 1973), near the expected one
        where the noise hides it.

        Args:
            released: [F] deviations from public figures, in those units.
            sigma: noise deviation of each.

        Returns:
            [F], and [F] variance given the vector for a population as it is expected.
        """
        if sigma == 0.0:
            return released, np.zeros_like(released)
        values, unknown = np.zeros_like(released), np.zeros_like(released)
        for kind in np.unique(self.kinds):
            own = self.kinds == kind
            powers, axes = np.linalg.eigh(self.covariance[np.ix_(own, own)])
            powers = np.maximum(powers, _LEAST)
            along = axes.T @ released[own]
            ratio = _likeliest(along, powers, sigma)
            values[own] = axes @ (along * ratio * powers / (ratio * powers + sigma**2))
            unknown[own] = axes**2 @ (powers * sigma**2 / (powers + sigma**2))
        return values, unknown


def _likeliest(values: Array, powers: Array, sigma: float) -> float:
    """Ratio of the population's variance to the expected one, given noisy values."""
    variances = _RATIOS[:, None] * powers + sigma**2
    likelihood = -0.5 * (np.log(variances) + values**2 / variances).sum(axis=1)
    expected = -0.5 * (np.log(_RATIOS) / _RATIO_STD) ** 2
    return float(_RATIOS[np.argmax(likelihood + expected)])
