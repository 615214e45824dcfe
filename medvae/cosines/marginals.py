"""Grey values as normal scores: how often each grey value is, over all pixels of all images.

Grey values of images are far from normal: air is black in one half of an image, lungs are dark and
bones bright. The share of pixels at or below each of a few public levels is released first; all
other statistics are of the scores that these shares give grey values, and draws go the way back.
So a draw has the cohort's histogram, and its flat black and white (a Gaussian copula: Nelsen 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from medvae.cosines.basis import Array, Basis
from medvae.cosines.numbers import Numbers

# Public, as all of the constants here. No level is a grey value of 8 bits.
LEVELS: Final = np.linspace(-0.95, 0.95, 8)
# Standard deviation of the scores of all pixels: that of grey values by the public law.
DEVIATION: Final = 0.35
# Where a share has more noise than this, grey values are taken as they are.
MOST_NOISE: Final = 0.05
# A share is at least this, and at most 1 less this: beyond lie few pixels and much noise.
RAREST: Final = 0.002
_APART: Final = 1e-6


@dataclass(frozen=True)
class Marginals:
    """Share of an image's pixels at or below each level, less a half.

    Each is within a half of 0 whatever the image: no vector is longer than the clip.
    """

    basis: Basis
    name: str = "marginals"
    share: float = 1.0

    @property
    def dimension(self) -> int:
        return len(LEVELS)

    @property
    def clip(self) -> float:
        return 0.5 * float(np.sqrt(len(LEVELS)))

    def measure(self, coefficients: Array, category: int | None) -> Array:
        grey = self.basis.synthesise(coefficients).reshape(-1)
        return np.asarray([np.mean(grey <= level) - 0.5 for level in LEVELS])

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        if sigma > MOST_NOISE:
            return state
        shares = np.clip(released + 0.5, RAREST, 1.0 - RAREST)
        # No level has a smaller share than one below it.
        return replace(state, marginals=np.maximum.accumulate(shares))


def curve(marginals: Array) -> tuple[Array, Array]:
    """(grey values, scores), [L + 2] both and ascending; straight lines lie between."""
    ends = marginals[0] / 2.0, 1.0 - (1.0 - marginals[-1]) / 2.0
    scores = ndtri(np.concatenate([ends[:1], marginals, ends[1:]]))
    grey = np.concatenate([[-1.0], LEVELS, [1.0]])
    return grey, np.asarray(DEVIATION * (scores + _APART * np.arange(len(scores))))


def to_scores(image: npt.NDArray[np.floating], marginals: Array) -> npt.NDArray[np.floating]:
    """Scores of grey values in [-1, 1]; the image itself where no shares were released."""
    if not len(marginals):
        return image
    grey, scores = curve(marginals)
    return np.asarray(np.interp(image, grey, scores))


def to_grey(scores: Array, marginals: Array) -> Array:
    """Invert `to_scores`; beyond the outermost scores grey values are -1 and 1."""
    if not len(marginals):
        return scores
    grey, known = curve(marginals)
    return np.asarray(np.interp(scores, known, grey))
