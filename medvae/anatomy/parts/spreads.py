"""How much patients differ in place, shape and figures, around the released means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medvae.anatomy import place
from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts.base import Measured, toward_common
from medvae.anatomy.registration.geometry import Array

# Least and greatest variance of a population, relative to that of public people.
LEAST, GREATEST = 0.1, 4.0
# Clip of squares less 1, relative to the square root of their number: a normal's have sqrt(2), and
# a population that differs twice as much has more.
SPREAD_REACH = 2.0


def _std(public: Array, ratio: Array) -> Array:
    """Standard deviations of a variance ratio less 1, within what a population can have."""
    return np.asarray(public * np.sqrt(np.clip(1.0 + ratio, LEAST, GREATEST)))


@dataclass(frozen=True)
class PlaceSpread:
    """Variance of place, relative to public people's."""

    public: Numbers
    name: str = "place-spread"
    share: float = 0.10
    clip: float = SPREAD_REACH * place.SIZE**0.5
    dimension: int = place.SIZE

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        return np.asarray(((measured.place - numbers.place) / self.public.place_std) ** 2 - 1.0)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        parts = (place.ROTATION, place.STRETCH, place.SHIFT)
        ratio = np.concatenate([toward_common(released[part], sigma) for part in parts])
        return replace(numbers, place_std=_std(self.public.place_std, ratio))


@dataclass(frozen=True)
class ShapeSpread:
    """Mean square of coefficients around their mean, by axis and band, relative to public."""

    public: Numbers
    bands: Bands
    name: str = "shape-spread"
    share: float = 0.11

    @property
    def dimension(self) -> int:
        return 3 * self.bands.count

    @property
    def clip(self) -> float:
        """A band's mean square varies less than a square: many coefficients are in it."""
        return 0.7 * float(np.sqrt(self.dimension))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        square = self.bands.mean((measured.shape - numbers.shape) ** 2)
        return np.asarray((square / self.public.shape_std**2 - 1.0).reshape(-1))

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        ratio = toward_common(released, sigma).reshape(3, -1)
        return replace(numbers, shape_std=_std(self.public.shape_std, ratio))


@dataclass(frozen=True)
class FiguresSpread:
    """Variance of the figures, relative to public people's."""

    public: Numbers
    name: str = "figures-spread"
    share: float = 0.15

    @property
    def dimension(self) -> int:
        return len(self.public.figures)

    @property
    def clip(self) -> float:
        return SPREAD_REACH * float(np.sqrt(self.dimension))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        deviation = (measured.figures - numbers.figures) / self.public.figures_within
        return np.where(np.isfinite(deviation), deviation**2 - 1.0, 0.0)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        ratio = toward_common(released, sigma)
        within = self.public.figures_within
        doubt = np.maximum(numbers.figures_std**2 - within**2, 0.0)
        return replace(numbers, figures_std=np.sqrt(_std(within, ratio) ** 2 + doubt))
