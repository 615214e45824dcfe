"""The private statistics of cosine coefficients: each a clipped vector of one image.

Three mechanisms in order: `POWERS` (the power of each band, and the shares of the classes), `MEANS`
of the classes, and `SECONDS`, products of coefficients around them; `medvae.cosines.gains` has a
fourth. Scales and places are public or were released before; an image of no class adds nothing to
what is of classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

from medvae.cosines.basis import Array, Basis
from medvae.cosines.numbers import Numbers
from medvae.cosines.planes import between
from medvae.cosines.shrinkage import (
    nearest_covariance,
    packed,
    spectral,
    toward_zero,
    unpacked,
)

POWERS: Final = "cosines-powers"
MEANS: Final = "cosines-means"
SECONDS: Final = "cosines-seconds"
GAINS: Final = "cosines-gains"

# Clips, in units of the norm that a vector has whose scales are right.
POWER_REACH: Final = 2.5
MEAN_REACH: Final = 1.5
SECOND_REACH: Final = 1.25
# How far a band's log power is from the public law's, in a population.
LIKELY: Final = 1.5
# A band's power is never below this part of the law's: a constant image has none.
FAINTEST: Final = 1e-4
# How far a class's share is from an equal one, and a variance from the spread that bands say.
UNEVEN: Final = 0.3
ASKEW: Final = 0.5
# Noise of what a class differs by, in deviations of a coefficient; of its products the largest
# eigenvalue of noise, in variances. Of two classes one rarer than one in eight has more, and so
# has a cohort that is below the noise: there classes become alike.
LOUDEST_MEAN: Final = 1.0
LOUDEST_SECOND: Final = 6.0
# Least part of a class.
RAREST: Final = 0.01


class Part(Protocol):
    """A statistic: its public constants, its vector, and what a released mean vector says.

    Formal guarantee: none of its own. The release clips each patient's vector to `clip` whatever
    `measure` returns, so the sensitivity of the sum is `clip`.
    """

    @property
    def name(self) -> str:
        """Unique in a model."""

    @property
    def share(self) -> float:
        """Part of its mechanism's budget, in squared signal-to-noise."""

    @property
    def clip(self) -> float:
        """Largest L2 norm of a patient's vector."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def measure(self, coefficients: Array, category: int | None) -> Array:
        """[dimension] of one image's coefficients [F] and its class."""

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        """`state` with what a released mean vector [dimension] adds.

        sigma: noise deviation of each coordinate of `released`; 0: none.
        """


@dataclass(frozen=True)
class ClassShares:
    """How often each class is."""

    classes: int
    name: str = "classes"
    share: float = 0.2
    clip: float = 1.0

    @property
    def dimension(self) -> int:
        return self.classes

    def measure(self, coefficients: Array, category: int | None) -> Array:
        return _one_hot(category, self.classes)

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        # Under much noise every class is as frequent.
        trust = UNEVEN**2 / (UNEVEN**2 + sigma**2)
        least = np.maximum(state.shares + trust * (released - state.shares), RAREST)
        return replace(state, shares=least / least.sum())


@dataclass(frozen=True)
class BandPowers:
    """Mean logarithm of each band's power over the public law's.

    A logarithm: an image of unusual contrast moves it little, and no power is too large for it.
    """

    basis: Basis
    name: str = "powers"
    share: float = 0.8

    @property
    def dimension(self) -> int:
        return self.basis.bands

    @property
    def clip(self) -> float:
        return POWER_REACH * float(np.sqrt(self.dimension))

    def measure(self, coefficients: Array, category: int | None) -> Array:
        ratio = self.basis.by_band(coefficients**2 / self.basis.law)
        return np.asarray(np.log(ratio + FAINTEST)) - self._expected

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        log_ratio = released * LIKELY**2 / (LIKELY**2 + sigma**2)
        return replace(state, power=self.basis.by_band(self.basis.law) * np.exp(log_ratio))

    @property
    def _expected(self) -> Array:
        """[B] mean logarithm of a mean square of as many normal coefficients as the band has."""
        half = self.basis.widths / 2.0
        return np.asarray(digamma(half) - np.log(half))


@dataclass(frozen=True)
class ClassMeans:
    """Mean of some coefficients in each class, over their released scales."""

    basis: Basis
    state: Numbers
    kept: npt.NDArray[np.int64]
    name: str = "means"
    share: float = 1.0

    @property
    def dimension(self) -> int:
        return len(self.state.shares) * len(self.kept)

    @property
    def clip(self) -> float:
        return mean_clip(len(self.kept))

    def measure(self, coefficients: Array, category: int | None) -> Array:
        values = self._weights * (coefficients / self.state.scale(self.basis))[self.kept]
        return np.outer(_one_hot(category, len(self.state.shares)), values).reshape(-1)

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        shares = state.shares
        sums = released.reshape(len(shares), -1)
        scale = state.scale(self.basis)[self.kept] / self._weights
        bands = self.basis.band[self.kept]
        # What all classes share is known best; a class is what it differs by. That is taken as
        # released: shrunk, the classes of draws are alike, and nobody learns to separate them.
        pooled = sums.sum(axis=0)
        shared = toward_zero(pooled, sigma * np.sqrt(len(shares)), bands)
        means = np.zeros_like(state.means)
        for category, share in enumerate(shares):
            own = quieted(sums[category] / share - pooled, sigma / share, LOUDEST_MEAN)
            means[category, self.kept] = (shared + (own if len(shares) > 1 else 0.0)) * scale
        return replace(state, means=means)

    @property
    def _weights(self) -> Array:
        return weights(self.state.scale(self.basis)[self.kept])


@dataclass(frozen=True)
class ClassSeconds:
    """Mean products of some coefficients in each class, around its mean, over their spreads."""

    basis: Basis
    state: Numbers
    kept: npt.NDArray[np.int64]
    name: str = "seconds"
    share: float = 1.0

    @property
    def dimension(self) -> int:
        count = len(self.kept)
        return len(self.state.shares) * count * (count + 1) // 2

    @property
    def clip(self) -> float:
        return second_clip(len(self.kept))

    def measure(self, coefficients: Array, category: int | None) -> Array:
        classes = len(self.state.shares)
        if category is None and classes > 1:
            return np.zeros(self.dimension)
        own = category or 0
        if own >= classes:
            return np.zeros(self.dimension)
        values = ((coefficients - self.state.means[own]) / self._spread)[self.kept]
        values = values * self._weights
        products = np.zeros((classes, self.dimension // classes))
        products[own] = packed(np.outer(values, values))
        return products.reshape(-1)

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        shares, count = state.shares, len(self.kept)
        sums = released.reshape(len(shares), -1)
        pooled = unpacked(sums.sum(axis=0), count)
        noise = sigma * np.sqrt(len(shares))
        size = np.sqrt(self._variances(np.diag(pooled), noise))
        shared = between(self.basis, state, self.kept) * np.outer(size, size)
        shared = shared + spectral(pooled - shared, noise)
        scale = self._spread[self.kept] / self._weights
        covariance = np.zeros((len(shares), count, count))
        for category, share in enumerate(shares):
            own = np.zeros_like(shared)
            if len(shares) > 1:
                edge = sigma / share * np.sqrt(2.0 * count)
                apart = unpacked(sums[category] / share, count) - pooled
                own = quieted(apart, edge, LOUDEST_SECOND)
            covariance[category] = nearest_covariance(shared + own) * np.outer(scale, scale)
        return replace(state, kept=self.kept, covariance=covariance)

    @property
    def _weights(self) -> Array:
        return weights(self._spread[self.kept])

    def _variances(self, released: Array, sigma: float) -> Array:
        """[D] variances by band, toward those that the spreads say where noise is strong."""
        expected = self._weights**2
        index = np.unique(self.basis.band[self.kept], return_inverse=True)[1].reshape(-1)
        count = np.bincount(index)
        ratio = np.bincount(index, released / expected) / count
        noise = np.bincount(index, (sigma / expected) ** 2) / count**2
        trusted = 1.0 + (ratio - 1.0) * ASKEW**2 / (ASKEW**2 + noise)
        return np.asarray(expected * np.maximum(trusted, FAINTEST)[index])

    @property
    def _spread(self) -> Array:
        return self.state.spread(self.basis)


def mean_clip(count: int) -> float:
    """Clip of the mean of `count` standardised coefficients."""
    return MEAN_REACH * float(np.sqrt(count))


def second_clip(count: int) -> float:
    """The norm of the products of so many is the square of their norm."""
    return SECOND_REACH * count


def weights(scale: Array) -> Array:
    """[D] what standardised coefficients are multiplied by, of mean square 1.

    Noise is the same in every coordinate of a vector. With weights that are the root of what a
    coefficient varies by, the squared error of the image is least for a norm of the vector.
    """
    return np.asarray(np.sqrt(scale / np.mean(scale)))


def quieted(values: Array, noise: float, most: float) -> Array:
    """Values in `noise`: as they are up to `most`, by one factor less the more there is beyond."""
    return values * min(1.0, (most / noise) ** 2) if noise > 0 else values


def _one_hot(category: int | None, classes: int) -> Array:
    """[K] 1 at the class; of one class all are of it; zeros for none or one beyond K."""
    vector = np.zeros(classes)
    if classes == 1:
        vector[0] = 1.0
    elif category is not None and category < classes:
        vector[category] = 1.0
    return vector
