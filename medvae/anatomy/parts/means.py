"""Mean place, shape and figures: statistics that need no earlier release."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medvae.anatomy import place
from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts.base import Measured, toward_zero
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.related import Related

# Public people have a norm of about the square root of the dimension; patients of another scanner
# differ from them by more than they do from one another: by 1.9 and 1.1 times that in figures and
# shape of hearts, by 1.7 and 2.0 of heads. A clip below that costs more than its noise saves, as it
# shrinks the whole joint vector (16 hearts and 8 heads of two other cohorts).
REACH = 2.0
# Part of the budget that the mean shape has: little, for the noise of its many numbers would fill
# most of the joint clip, and grey values would pay for it. With .22, and less for all means, errors
# of released figures and places of heads and of hearts were 1.05 to 1.4 times as large at epsilon
# 8 and 3, and those of the mean shape .9 to 1 times. Models of earlier versions have .22.
SHAPE_SHARE = 0.12
EARLIER_SHAPE_SHARE = 0.22
# And what figures have; where grey values are released apart from the others, these have the same,
# and the others half: what a tissue's grey value is decides what is seen, and in one vector with
# textures and shading, four times as many, it has twice the noise.
FIGURES_SHARE = 0.30
OTHERS_SHARE = 0.15


@dataclass(frozen=True)
class MeanPlace:
    """Mean rotation, stretch and position.

    Attributes:
        public: deviations are from its means, in its standard deviations.
    """

    public: Numbers
    name: str = "place"
    share: float = 0.12
    clip: float = REACH * place.SIZE**0.5
    dimension: int = place.SIZE

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        return (measured.place - self.public.place) / self.public.place_std

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        parts = (place.ROTATION, place.STRETCH, place.SHIFT)
        shrunk = np.concatenate([toward_zero(released[part], sigma) for part in parts])
        return replace(numbers, place=self.public.place + shrunk * self.public.place_std)


@dataclass(frozen=True)
class MeanShape:
    """Mean of the `count` slowest coefficients of the deformation, along each axis."""

    public: Numbers
    bands: Bands
    count: int
    name: str = "shape"
    share: float = SHAPE_SHARE

    @property
    def dimension(self) -> int:
        return 3 * self.count

    @property
    def clip(self) -> float:
        return REACH * float(np.sqrt(self.dimension))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        deviation = (measured.shape - self.public.shape) / self.bands.spread(self.public.shape_std)
        return np.asarray(deviation[:, : self.count].reshape(-1))

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        shrunk = np.zeros_like(self.public.shape)
        shrunk[:, : self.count] = released.reshape(3, self.count)
        # By band: shapes of a population differ from public ones in what is slow.
        for band in range(self.bands.count):
            there = (self.bands.of == band) & (np.arange(shrunk.shape[1]) < self.count)
            shrunk[:, there] = toward_zero(shrunk[:, there].reshape(-1), sigma).reshape(3, -1)
        change = shrunk * self.bands.spread(self.public.shape_std)
        return replace(numbers, shape=self.public.shape + change)


@dataclass(frozen=True)
class MeanFigures:
    """Mean of what the renderer measures; what a volume does not show counts as public.

    Attributes:
        public: deviations are from its figures, in its standard deviations.
        related: how figures go together, so that kinds are whole; None: as if they did not.
        start, stop: which of the figures these are; None: to the last.
    """

    public: Numbers
    related: Related | None = None
    start: int = 0
    stop: int | None = None
    name: str = "figures"
    share: float = FIGURES_SHARE

    @property
    def dimension(self) -> int:
        return len(self.public.figures[self._own])

    @property
    def clip(self) -> float:
        return REACH * float(np.sqrt(self.dimension))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        deviation = (measured.figures - self.public.figures) / self.public.figures_std
        return np.where(np.isfinite(deviation), deviation, 0.0)[self._own]

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        public, own = self.public, self._own
        if self.related is None:
            shrunk, left = toward_zero(released, sigma), np.array(sigma**2 / (1.0 + sigma**2))
        else:
            related = self.related.part(own)
            shrunk = related.estimate(released, sigma)
            # No more is drawn than public people alone would be.
            unknown = related.unknown(np.full(self.dimension, sigma))
            left = np.minimum(np.diag(unknown), 1.0)
        # What noise leaves unknown of the mean is drawn from its posterior.
        rest = (public.figures_std**2 - public.figures_within**2)[own] * left
        figures, std = numbers.figures.copy(), numbers.figures_std.copy()
        figures[own] = public.figures[own] + shrunk * public.figures_std[own]
        std[own] = np.sqrt(public.figures_within[own] ** 2 + rest)
        if self.related is not None and len(numbers.figures_error):
            error, noise = numbers.figures_error.copy(), numbers.figures_noise.copy()
            error[own], noise[own] = np.sqrt(rest), sigma
            numbers = numbers.with_error(error, noise)
        return replace(numbers, figures=figures, figures_std=std)

    @property
    def _own(self) -> slice:
        return slice(self.start, self.stop)
