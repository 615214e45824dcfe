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
        related: how figures go together; None: as if they did not.
    """

    public: Numbers
    related: Related | None = None
    name: str = "figures"
    share: float = 0.30

    @property
    def dimension(self) -> int:
        return len(self.public.figures)

    @property
    def clip(self) -> float:
        return REACH * float(np.sqrt(self.dimension))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        deviation = (measured.figures - self.public.figures) / self.public.figures_std
        return np.where(np.isfinite(deviation), deviation, 0.0)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        public = self.public
        if self.related is None:
            shrunk = toward_zero(released, sigma)
            doubt = np.full_like(released, sigma**2 / (1.0 + sigma**2))
        else:
            shrunk, unknown = self.related.estimate(released, sigma)
            # No more is drawn than public people alone would be.
            doubt = np.minimum(unknown, 1.0)
        change = shrunk * public.figures_std
        # What noise leaves unknown of the mean is drawn from its posterior.
        rest = public.figures_std**2 - public.figures_within**2
        std = np.sqrt(public.figures_within**2 + rest * doubt)
        return replace(numbers, figures=public.figures + change, figures_std=std)
