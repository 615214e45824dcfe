"""One shape for a private statistic of the anatomy model.

A statistic is a vector of each patient that says how he or she deviates from public people, in
units of how public people deviate from one another. So noise shrinks a released mean toward
public anatomy, and a cohort that says nothing returns the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from medvae.anatomy.numbers import Numbers
from medvae.anatomy.registration.geometry import Array

# How many standard deviations of the power of noise may be chance.
CHANCE = 2.5
# How much a population differs from public people, in their standard deviations.
LIKELY = 2.0


@dataclass(frozen=True)
class Measured:
    """What one volume shows, measured once and handed to every statistic.

    Attributes:
        place: [12] (see `place`).
        shape: [3, K] whitened coefficients of the deformation.
        figures: [F] of the renderer; NaN where the volume does not show it.
        category: the volume's class 0, 1, ..., or None.
        site: the number 0, 1, ... of the volume's site, or None.
    """

    place: Array
    shape: Array
    figures: Array
    category: int | None = None
    site: int | None = None


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
        """Part of the model's budget, in squared signal-to-noise."""

    @property
    def clip(self) -> float:
        """Largest L2 norm of a patient's vector."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        """[dimension] of one volume, given what is public or has been released before."""

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        """`numbers` with what a released mean vector [dimension] adds.

        sigma: noise deviation of each coordinate of `released`; 0: none.
        """


def toward_zero(values: Array, sigma: float) -> Array:
    """A released vector times the part of its power that noise does not explain.

    Positive-part James-Stein (1961), zero (public anatomy) where noise alone would be as strong
    once in some hundred times; and never more than the posterior mean of a population that
    differs from public people by `LIKELY` of their standard deviations, so that a small part of a
    large noise is not taken for anatomy either.
    """
    power, expected = float(values @ values), len(values) * sigma**2
    chance = CHANCE * np.sqrt(2.0 / max(len(values), 1))
    if power <= expected * (1.0 + chance):
        return np.zeros_like(values)
    return np.asarray(values * min(1.0 - expected / power, LIKELY**2 / (LIKELY**2 + sigma**2)))


def toward_common(values: Array, sigma: float) -> Array:
    """`toward_zero` of what a vector's values have in common, and of how they differ from it.

    For numbers of one kind that a cohort tends to have more or less of all at once, as variances
    are: their mean has little noise, where each of them alone may be below it.
    """
    common = np.full_like(values, values.mean()) if len(values) else values
    mean = toward_zero(common[:1], sigma / np.sqrt(max(len(values), 1)))
    return np.asarray(mean + toward_zero(values - common, sigma))
