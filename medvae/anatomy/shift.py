"""Which figures of a cohort's sites differ, from released numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm

from medvae.anatomy.parts import Apart
from medvae.anatomy.registration.geometry import Array

# Of all comparisons together: how often at least one differs where sites are alike.
LEVEL: Final = 0.05


@dataclass(frozen=True)
class Difference:
    """One figure of one site beside all sites, in standard deviations of all patients.

    Attributes:
        site: its number.
        figure: its number.
        difference: mean of the site less that of all sites, as released.
        noise: standard deviation of what the mechanism added to it.
        chance: of who happened to be scanned, at most: a site of few patients differs anyway.
        differs: by more than noise and chance explain.
    """

    site: int
    figure: int
    difference: float
    noise: float
    chance: float
    differs: bool


def differences(
    released: Array, sigma: float, shares: Array, patients: int
) -> tuple[Difference, ...]:
    """Every figure of every site. Post-processing: costs no privacy.

    Args:
        released: [S * F] mean vector of the statistic `site-figures`, with its noise.
        sigma: deviation of that noise in each coordinate.
        shares: [S] of the sites, as released.
        patients: of all sites; public.
    """
    apart = Apart.of(released, sigma, shares)
    most = float(norm.isf(LEVEL / 2.0 / released.size))
    chance = np.sqrt((1.0 / shares - 1.0) / patients)
    return tuple(
        Difference(
            site,
            figure,
            float(value),
            float(apart.own_sigma[site]),
            float(chance[site]),
            bool(abs(value) > most * np.hypot(apart.own_sigma[site], chance[site])),
        )
        for site, row in enumerate(apart.own)
        for figure, value in enumerate(row)
    )


def strongest(differences: Sequence[Difference]) -> list[Difference]:
    """Those that differ, the surest first."""
    differing = [difference for difference in differences if difference.differs]
    return sorted(
        differing,
        key=lambda difference: (
            -abs(difference.difference) / np.hypot(difference.noise, difference.chance)
        ),
    )
