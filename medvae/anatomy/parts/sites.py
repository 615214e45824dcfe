"""How large each site is, and how its volumes' figures deviate from those of all sites.

A volume's vector is zero but in the block of its site, and zero throughout where it has none. The
figures are compared with those of the volume's own class, so that a hospital that sees more of one
class is not taken for another scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts.base import Measured, toward_zero
from medvae.anatomy.parts.classes import CLASS_REACH, in_block, shares_of
from medvae.anatomy.registration.geometry import Array


@dataclass(frozen=True)
class SiteShares:
    """How much of the cohort each site has: the size of a hospital is private."""

    sites: int
    name: str = "site-shares"
    share: float = 0.1
    clip: float = 1.0

    @property
    def dimension(self) -> int:
        return self.sites

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        return in_block(np.ones(1), measured.site, self.sites)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        return replace(numbers, site_shares=shares_of(released, sigma))


@dataclass(frozen=True)
class SiteFigures:
    """Figures of each site (grey values, their spread, texture), in standard deviations of all.

    What a volume does not show counts as the mean of all.
    """

    sites: int
    figures: int
    name: str = "site-figures"
    share: float = 0.9

    @property
    def dimension(self) -> int:
        return self.sites * self.figures

    @property
    def clip(self) -> float:
        return CLASS_REACH * float(np.sqrt(self.figures))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        own = measured.category if measured.category in range(numbers.classes) else None
        deviation = (measured.figures - numbers.of_class(own).figures) / numbers.figures_std
        told_deviation = np.where(np.isfinite(deviation), deviation, 0.0)
        return in_block(told_deviation, measured.site, self.sites)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        apart = Apart.of(released, sigma, numbers.site_shares)
        # What all sites have in common is the error of the released means.
        common = toward_zero(apart.common, apart.common_sigma)
        own = np.zeros_like(apart.own)
        if numbers.site_figures.size:
            # Of an earlier model, which noise leaves as it was.
            own = numbers.site_figures / numbers.figures_std - common
        for site, noise in enumerate(apart.own_sigma):
            own[site] += toward_zero(apart.own[site] - own[site], float(noise))
        return replace(numbers, site_figures=(own + common) * numbers.figures_std)


@dataclass(frozen=True)
class Apart:
    """Released figures of sites in two: what they have in common, and what each has of its own.

    Attributes:
        common: [F] mean over all patients of a site; common_sigma: its noise deviation.
        own: [S, F] mean of each site less `common`; own_sigma: [S] noise deviations.
    """

    common: Array
    common_sigma: float
    own: Array
    own_sigma: Array

    @classmethod
    def of(cls, released: Array, sigma: float, shares: Array) -> Apart:
        """From released sums [S * F] over all patients, divided by their number; shares: [S]."""
        sums = released.reshape(len(shares), -1)
        common = sums.sum(axis=0)
        # A site's own sum is in `common`, too: noise of 1 / share - 1 of it, and 1 of each other.
        noise = sigma * np.sqrt((1.0 / shares - 1.0) ** 2 + len(shares) - 1.0)
        return cls(
            common, sigma * float(np.sqrt(len(shares))), sums / shares[:, None] - common, noise
        )
