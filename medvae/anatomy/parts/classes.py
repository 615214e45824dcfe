"""How often each class is, and how its patients deviate from the means of all patients.

A volume's vector is zero but in the block of its class, and zero throughout where the volume has no
class. So a class of few patients has more noise, and is shrunk further toward the cohort's means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from medvae.anatomy import place
from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts.base import Measured, toward_common, toward_zero
from medvae.anatomy.registration.geometry import Array

# Patients have a norm of about the square root of the dimension around the means of all.
CLASS_REACH = 1.2
# Coefficients of the shape along each axis in which classes are compared: what is slow.
SLOWEST = 8
# How much shares of classes differ from equal ones, and the least share of any.
UNEVEN, RAREST = 0.2, 0.01


@dataclass(frozen=True)
class ClassShares:
    """How often each class is."""

    classes: int
    name: str = "class-shares"
    share: float = 0.1
    clip: float = 1.0

    @property
    def dimension(self) -> int:
        return self.classes

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        return in_block(np.ones(1), measured.category, self.classes)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        return replace(numbers, class_shares=shares_of(released, sigma))


@dataclass(frozen=True)
class ClassPlace:
    """Rotation, stretch and position of each class, in standard deviations of all patients."""

    classes: int
    name: str = "class-place"
    share: float = 0.2

    @property
    def dimension(self) -> int:
        return self.classes * place.SIZE

    @property
    def clip(self) -> float:
        return CLASS_REACH * place.SIZE**0.5

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        return in_block(
            (measured.place - numbers.place) / numbers.place_std, measured.category, self.classes
        )

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        before = None if not numbers.class_place.size else numbers.class_place / numbers.place_std
        change = _by_class(released, sigma, numbers, _shrunk_place, before)
        return replace(numbers, class_place=change * numbers.place_std)


@dataclass(frozen=True)
class ClassFigures:
    """Grey values of each class; what a volume does not show counts as the mean of all."""

    classes: int
    figures: int
    name: str = "class-figures"
    share: float = 0.35

    @property
    def dimension(self) -> int:
        return self.classes * self.figures

    @property
    def clip(self) -> float:
        return CLASS_REACH * float(np.sqrt(self.figures))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        deviation = (measured.figures - numbers.figures) / numbers.figures_std
        told_deviation = np.where(np.isfinite(deviation), deviation, 0.0)
        return in_block(told_deviation, measured.category, self.classes)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        before = (
            None if not numbers.class_figures.size else numbers.class_figures / numbers.figures_std
        )
        change = _by_class(released, sigma, numbers, toward_zero, before)
        return replace(numbers, class_figures=change * numbers.figures_std)


@dataclass(frozen=True)
class ClassShape:
    """The slowest coefficients of each class's deformation."""

    classes: int
    bands: Bands
    name: str = "class-shape"
    share: float = 0.35

    @property
    def count(self) -> int:
        """Coefficients along each axis."""
        return min(SLOWEST, len(self.bands.of))

    @property
    def dimension(self) -> int:
        return self.classes * 3 * self.count

    @property
    def clip(self) -> float:
        return CLASS_REACH * float(np.sqrt(3 * self.count))

    def measure(self, measured: Measured, numbers: Numbers) -> Array:
        deviation = (measured.shape - numbers.shape) / self.bands.spread(numbers.shape_std)
        return in_block(deviation[:, : self.count].reshape(-1), measured.category, self.classes)

    def estimate(self, released: Array, sigma: float, numbers: Numbers) -> Numbers:
        units = self.bands.spread(numbers.shape_std)
        change = np.zeros((self.classes, *numbers.shape.shape))
        before = None
        if numbers.class_shape.size:
            change = numbers.class_shape / units
            before = change[..., : self.count].reshape(self.classes, -1)
        blocks = _by_class(released, sigma, numbers, toward_zero, before)
        change[..., : self.count] = blocks.reshape(self.classes, 3, self.count)
        return replace(numbers, class_shape=change * units)


def shares_of(released: Array, sigma: float) -> Array:
    """[C] shares that sum to 1, of released ones [C] with noise."""
    equal = np.full(len(released), 1.0 / len(released))
    # The posterior mean: where noise is large, every class is as frequent.
    weight = UNEVEN**2 / (UNEVEN**2 + sigma**2)
    shares = np.maximum(equal + weight * (released - equal), RAREST)
    return np.asarray(shares / shares.sum())


def in_block(values: Array, group: int | None, groups: int) -> Array:
    """[groups * n] zeros, with `values` [n] in the block of a class or site."""
    blocks = np.zeros((groups, len(values)))
    if group is not None and 0 <= group < groups:
        blocks[group] = values
    return blocks.reshape(-1)


def _shrunk_place(values: Array, sigma: float) -> Array:
    """`toward_zero` of the kinds of a place; of a larger organ all three axes are longer."""
    axes, shears = values[place.STRETCH][:3], values[place.STRETCH][3:]
    return np.concatenate(
        [
            toward_zero(values[place.ROTATION], sigma),
            toward_common(axes, sigma),
            toward_zero(shears, sigma),
            toward_zero(values[place.SHIFT], sigma),
        ]
    )


def _by_class(
    released: Array,
    sigma: float,
    numbers: Numbers,
    shrink: Callable[[Array, float], Array],
    before: Array | None,
) -> Array:
    """[classes, n] mean deviation of each class, shrunk by its own noise.

    before: [classes, n] what an earlier model says, and noise leaves; None: no deviation.
    """
    shares = numbers.class_shares
    blocks = released.reshape(len(shares), -1)
    centre = np.zeros_like(blocks) if before is None else before
    return np.stack(
        [
            at + shrink(block / share - at, sigma / share)
            for block, share, at in zip(blocks, shares, centre, strict=True)
        ]
    )
