"""How images differ in contrast and sharpness: the covariance of the log power of their bands.

Images of one normal distribution are all alike in the power of a band of many coefficients. Those
of patients are not: one is flat, another full of contrast, one sharp, another blurred. A normal
distribution whose bands have random gains is a Gaussian scale mixture (Wainwright and Simoncelli
2000); its kept coefficients have the covariance that was released.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

from medvae.cosines.basis import Array, Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.shrinkage import packed, spectral, unpacked

# Clip, in units of the norm of a vector whose log powers each vary by 1.
GAIN_REACH: Final = 1.25
# A band of fewer coefficients has a power by chance alone.
LEAST_WIDTH: Final = 8
# A band's power is never below this part of its expected one: a constant image has none.
FAINTEST: Final = 1e-4
# Images that are simulated to learn how much of the covariance is chance, in coefficients.
SIMULATED: Final = 20_000_000
FEWEST_IMAGES, MOST_IMAGES = 200, 2000


@dataclass(frozen=True)
class BandGains:
    """Mean products of the log powers of bands, around the released ones.

    Attributes:
        basis: of the grid.
        state: all that the model has but gains.
    """

    basis: Basis
    state: Numbers
    name: str = "gains"
    share: float = 1.0

    @property
    def dimension(self) -> int:
        count = len(self._wide)
        return count * (count + 1) // 2

    @property
    def clip(self) -> float:
        return GAIN_REACH * len(self._wide)

    def measure(self, coefficients: Array, category: int | None) -> Array:
        own = self._log_powers(coefficients)
        return packed(np.outer(own, own))

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        wide = self._wide
        excess = spectral(unpacked(released, len(wide)) - self._by_chance(), sigma)
        values, vectors = np.linalg.eigh(excess)
        gains = np.zeros((self.basis.bands, self.basis.bands))
        gains[np.ix_(wide, wide)] = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return replace(state, gains=gains)

    @property
    def _wide(self) -> npt.NDArray[np.int64]:
        """Bands of at least `LEAST_WIDTH` coefficients; of a tiny grid, the widest."""
        widths = self.basis.widths
        return np.flatnonzero(widths >= min(LEAST_WIDTH, widths.max()))

    def _log_powers(self, coefficients: Array) -> Array:
        """[W] log power of each wide band over the released one."""
        expected = self.state.scale(self.basis) ** 2
        ratio = self.basis.by_band(coefficients**2 / expected)
        half = self.basis.widths / 2.0
        # The mean of the logarithm of a mean square of normal numbers is not 0.
        return np.asarray((np.log(ratio + FAINTEST) - digamma(half) + np.log(half))[self._wide])

    def _by_chance(self) -> Array:
        """[W, W] covariance of the log powers of images that all have the same gains."""
        count = int(np.clip(SIMULATED // len(self.basis), FEWEST_IMAGES, MOST_IMAGES))
        random = np.random.default_rng(0)
        model = CosineModel(self.basis, self.state)
        powers = [
            self._log_powers(model.coefficients(random, model.pick(random) or 0))
            for _ in range(count)
        ]
        return np.atleast_2d(np.cov(np.stack(powers), rowvar=False))
