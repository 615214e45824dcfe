"""Grey values as normal scores: how often each grey value is, over all pixels of all images.

Grey values of images are far from normal: air is black in one half of an image, lungs are dark and
bones bright. The share of pixels at or below each of a few public levels is released first; all
other statistics are of the scores that these shares give grey values, and draws go the way back.
So a draw has the cohort's histogram, and its flat black and white (a Gaussian copula: Nelsen 2006).
Each channel of an image has shares of its own.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """Share of the pixels of each channel at or below each level, less a half.

    Each is within a half of 0 whatever the image: no vector is longer than the clip.
    """

    basis: Basis
    name: str = "marginals"
    share: float = 1.0

    @property
    def dimension(self) -> int:
        return self.basis.channels * len(LEVELS)

    @property
    def clip(self) -> float:
        return 0.5 * float(np.sqrt(self.dimension))

    def measure(self, coefficients: Array, category: int | None) -> Array:
        channels = self.basis.synthesise(coefficients).reshape(self.basis.channels, -1)
        shares = [np.mean(grey <= level) for grey in channels for level in LEVELS]
        return np.asarray(shares) - 0.5

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        if sigma > MOST_NOISE:
            return state
        shares = np.clip(released + 0.5, RAREST, 1.0 - RAREST)
        if self.basis.channels > 1:
            shares = shares.reshape(self.basis.channels, -1)
        # No level has a smaller share than one below it.
        return replace(state, marginals=np.maximum.accumulate(shares, axis=-1))


def curve(marginals: Array) -> tuple[Array, Array]:
    """(grey values, scores), [L + 2] both and ascending; straight lines lie between.

    marginals: [L] of one channel.
    """
    ends = marginals[0] / 2.0, 1.0 - (1.0 - marginals[-1]) / 2.0
    scores = ndtri(np.concatenate([ends[:1], marginals, ends[1:]]))
    grey = np.concatenate([[-1.0], LEVELS, [1.0]])
    return grey, np.asarray(DEVIATION * (scores + _APART * np.arange(len(scores))))


def to_scores(image: npt.NDArray[np.floating], marginals: Array) -> npt.NDArray[np.floating]:
    """Scores of grey values in [-1, 1]; the image itself where no shares were released.

    Args:
        image: [C, ...] of shares [C, L], of any shape of shares [L].
    """
    if not len(marginals):
        return image
    return _by_channel(image, marginals, lambda own, grey, scores: np.interp(own, grey, scores))


def to_grey(scores: Array, marginals: Array) -> Array:
    """Invert `to_scores`; beyond the outermost scores grey values are -1 and 1."""
    if not len(marginals):
        return scores
    return _by_channel(scores, marginals, lambda own, grey, known: np.interp(own, known, grey))


def _by_channel(
    values: npt.NDArray[np.floating],
    marginals: Array,
    change: Callable[[npt.NDArray[np.floating], Array, Array], Array],
) -> Array:
    """`change` of the values of each channel by its own `curve`."""
    if marginals.ndim == 1:
        return np.asarray(change(values, *curve(marginals)))
    own = [change(channel, *curve(row)) for channel, row in zip(values, marginals, strict=True)]
    return np.stack(own)
