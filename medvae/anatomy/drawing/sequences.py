"""MRI sequences of each contrast, as hospitals time them, and the signal that a tissue gives.

Signal equations of spin echo, spoiled gradient echo and magnetisation-prepared rapid gradient echo
(Bernstein et al., Handbook of MRI Pulse Sequences, 2004); timings are those of usual protocols at
1.5 and 3 T. Times are in ms. Every timing is an array [N]: one of N protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing.relaxation import FLUID, WHITE
from medvae.anatomy.registration.geometry import Array

Contrast = Literal["t1", "t2", "pd", "flair"]
# A sequence: T1 and T2 of a tissue, each [N] or one number -> [N] signal for one proton density.
Signal = Callable[[Array, float], Array]


@dataclass(frozen=True)
class Protocols:
    """Attributes:
    is_high: [N] whether the scanner has 3 T.
    signal: of a tissue in each protocol.
    """

    is_high: npt.NDArray[np.bool_]
    signal: Signal


def protocols(contrast: Contrast, count: int, random: np.random.Generator) -> Protocols:
    """So many protocols of a contrast."""
    is_high = random.random(count) < 0.5
    return Protocols(is_high, _MAKERS[contrast](is_high, random))


def _t1_weighted(is_high: npt.NDArray[np.bool_], random: np.random.Generator) -> Signal:
    """MP-RAGE as often as spoiled gradient echo and spin echo together."""
    spin_echo = _spin_echo(repetition=(400.0, 700.0), echo=(8.0, 15.0))
    kinds = [made(is_high, random) for made in (_prepared, _spoiled, spin_echo)]
    kind = random.choice(3, p=[0.5, 0.25, 0.25], size=len(is_high))

    def signal(t1: Array, t2: float) -> Array:
        of_kinds = np.stack([np.broadcast_to(each(t1, t2), kind.shape) for each in kinds])
        return np.asarray(np.take_along_axis(of_kinds, kind[None], axis=0)[0])

    return signal


def _spoiled(is_high: npt.NDArray[np.bool_], random: np.random.Generator) -> Signal:
    """Flip angles from white matter's own (Ernst) to about twice that, or there is no contrast."""
    count = len(is_high)
    repetition, echo = random.uniform(7.0, 30.0, count), random.uniform(2.0, 6.0, count)
    ernst = np.arccos(np.exp(-repetition / WHITE.t1(is_high)))
    flip = ernst * random.uniform(1.0, 2.2, count)

    def signal(t1: Array, t2: float) -> Array:
        left = np.exp(-repetition / t1)
        steady = np.sin(flip) * (1.0 - left) / (1.0 - np.cos(flip) * left)
        return np.asarray(steady * np.exp(-echo / t2))

    return signal


def _prepared(is_high: npt.NDArray[np.bool_], random: np.random.Generator) -> Signal:
    """Inversion, a train of small flips with the middle of k-space half way, recovery."""
    count = len(is_high)
    inversion = np.where(
        is_high, random.uniform(850, 1100, count), random.uniform(750, 1050, count)
    )
    repetition, between = random.uniform(1800, 2600, count), random.uniform(6.0, 9.5, count)
    flip, pulses = np.radians(random.uniform(7, 12, count)), random.uniform(120, 190, count)
    inverted = -random.uniform(0.85, 1.0, count)
    before = inversion - between * pulses / 2.0
    after = repetition - before - between * pulses

    def signal(t1: Array, t2: float) -> Array:
        left, recovered = np.exp(-before / t1), np.exp(-after / t1)
        step = np.exp(-between / t1)
        steady = (1.0 - step) / (1.0 - np.cos(flip) * step)

        def through(start: Array, n: Array) -> Array:
            kept = (np.cos(flip) * step) ** n
            return np.asarray(start * kept + steady * (1.0 - kept))

        # Magnetisation before the inversion is the same in every cycle; the cycle is linear in it.
        def cycle(start: Array) -> Array:
            end = through(inverted * start * left + 1.0 - left, pulses)
            return np.asarray(end * recovered + 1.0 - recovered)

        at_zero = cycle(np.zeros(count))
        start = at_zero / (1.0 - (cycle(np.ones(count)) - at_zero))
        middle = through(inverted * start * left + 1.0 - left, pulses / 2.0)
        return np.asarray(np.abs(middle) * np.sin(flip) * np.exp(-3.0 / t2))

    return signal


def _spin_echo(
    repetition: tuple[float, float], echo: tuple[float, float]
) -> Callable[[npt.NDArray[np.bool_], np.random.Generator], Signal]:
    """Times between these."""

    def made(is_high: npt.NDArray[np.bool_], random: np.random.Generator) -> Signal:
        repetitions = random.uniform(*repetition, len(is_high))
        echoes = random.uniform(*echo, len(is_high))

        def signal(t1: Array, t2: float) -> Array:
            return np.asarray((1.0 - np.exp(-repetitions / t1)) * np.exp(-echoes / t2))

        return signal

    return made


def _without_fluid(is_high: npt.NDArray[np.bool_], random: np.random.Generator) -> Signal:
    """Inversion recovery whose inversion time leaves little of free fluid, and a long echo."""
    count = len(is_high)
    repetition, echo = random.uniform(7000, 11000, count), random.uniform(80, 140, count)
    fluid = FLUID.t1(is_high)
    null = fluid * np.log(2.0 / (1.0 + np.exp(-repetition / fluid)))
    inversion = null * random.uniform(0.93, 1.03, count)

    def signal(t1: Array, t2: float) -> Array:
        along = 1.0 - 2.0 * np.exp(-inversion / t1) + np.exp(-repetition / t1)
        return np.asarray(np.abs(along) * np.exp(-echo / t2))

    return signal


_MAKERS: Final[dict[Contrast, Callable[[npt.NDArray[np.bool_], np.random.Generator], Signal]]] = {
    "t1": _t1_weighted,
    "t2": _spin_echo(repetition=(2500.0, 6000.0), echo=(80.0, 120.0)),
    "pd": _spin_echo(repetition=(2000.0, 4000.0), echo=(10.0, 30.0)),
    "flair": _without_fluid,
}
