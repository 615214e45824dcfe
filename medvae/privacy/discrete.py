"""Exact sampling of the discrete Gaussian from a stream of random bytes.

The discrete Gaussian of parameter sigma has P[n] proportional to exp(-n^2 / (2 sigma^2)) over
the integers (Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy").
It is sampled by rejection from a staircase over it. Every decision is exact: the staircase has
integer weights; an acceptance compares a lazily extended uniform number with a probability that
is bounded from both sides, in floating point where that decides and in decimal arithmetic of
growing precision where it does not. So the result depends on the bytes alone, not on the
processor's arithmetic, and its law differs from the discrete Gaussian only beyond 14 sigma,
where that has a mass below 2^-146: these integers are never drawn.

The time that a draw takes depends on its value; whoever can measure that is out of scope.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bits = Callable[[int], bytes]

# Largest |n| / sigma that is drawn.
REACH = 14
# A step of the staircase is at most sigma / 64 wide and 2^24 integers: so that is sigma's range.
SMALLEST, LARGEST = 2.0**6, 2.0**31
# Two 64-bit words a candidate: a slot (11 bits) and its remainder (37), a sign (1); a place
# within the step (24 bits) and the first 40 bits of the uniform number.
WORDS = 2
_SLOT, _REMAINDER, _PLACE, _UNIFORM = 11, 37, 24, 40
_TOTAL = 1 << (_SLOT + _REMAINDER)
# Relative error allowed to the floating-point probability: far above its true error of 1e-13.
_SLACK = 2.0**-38


@dataclass(frozen=True)
class Staircase:
    """A staircase over exp(-n^2 / (2 sigma^2)), n >= 0, with integer weights of the steps.

    Attributes:
        sigma: parameter of the discrete Gaussian.
        shift: a step holds 2^shift integers.
        threshold, alias: [2048] Walker's alias method over the steps, exact in integers.
        scale: [2048] (height of the curve at 0) / (height of the step); 0 for the one slot
            that stands for "draw again".
        squeeze: [2048] first 40 bits of the uniform number below which every integer of the
            step is accepted.
        numerator, weights: `scale` exactly: numerator / weights[j].
    """

    sigma: float
    shift: int
    threshold: Words
    alias: Integers
    scale: npt.NDArray[np.float64]
    squeeze: Words
    numerator: int
    weights: tuple[int, ...]


@lru_cache(maxsize=256)
def staircase(sigma: float) -> Staircase:
    """The staircase for `sigma` in [64, 2^31). ValueError outside of that range."""
    if not SMALLEST <= sigma < LARGEST:
        raise ValueError(f"sigma must be in [2^6, 2^31), not {sigma!r}")
    # By frexp: a rounded logarithm of a sigma just below a power of two would be too large.
    shift = math.frexp(sigma)[1] - 7
    steps = int(REACH * sigma / 2**shift) + 1
    heights = _heights(sigma, shift, steps)
    # Room for one unit more on each step: a weight is never below the curve.
    numerator = int((_TOTAL - (2 << _SLOT)) / sum(heights[:-1]))
    weights = [math.floor(height * numerator) + 1 for height in heights[:-1]]
    again = _TOTAL - sum(weights)
    slots = 1 << _SLOT
    weights += [again] + [0] * (slots - steps - 1)
    threshold, alias = _alias(weights)
    scale = np.array([numerator / weight if weight else 0.0 for weight in weights[:steps]])
    squeeze = np.floor(
        np.array([float(h) for h in heights[1:]]) * scale * (1 - _SLACK) * 2.0**_UNIFORM
    )
    rest = slots - steps
    return Staircase(
        sigma,
        shift,
        np.array(threshold, dtype=np.uint64),
        np.array(alias, dtype=np.int64),
        np.concatenate([scale, np.zeros(rest)]),
        np.concatenate([squeeze, np.zeros(rest)]).astype(np.uint64),
        numerator,
        tuple(weights),
    )


def _heights(sigma: float, shift: int, steps: int) -> list[Fraction]:
    """The curve where each step begins, and where the last one ends: never below it."""
    # Rounded up: the exponent, then its exponential by one unit of the last place more.
    context = Context(prec=30, rounding=ROUND_CEILING)
    variance = 2 * Fraction(sigma) ** 2
    heights = []
    for step in range(steps + 1):
        exponent = -Fraction((step << shift) ** 2) / variance
        argument = context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
        heights.append(Fraction(context.next_plus(context.exp(argument))))
    return heights


def _alias(weights: list[int]) -> tuple[list[int], list[int]]:
    """Walker's alias tables (by Vose's method) of integer weights that sum to 2^48."""
    slots = len(weights)
    capacity = sum(weights) // slots
    left = list(weights)
    threshold, alias = [capacity] * slots, list(range(slots))
    small = [j for j in range(slots) if left[j] < capacity]
    large = [j for j in range(slots) if left[j] >= capacity]
    while small and large:
        poor, rich = small.pop(), large[-1]
        threshold[poor], alias[poor] = left[poor], rich
        left[rich] -= capacity - left[poor]
        if left[rich] < capacity:
            small.append(large.pop())
    return threshold, alias


def draw(words: Words, table: Staircase, ties: Callable[[int], Bits]) -> Integers:
    """The accepted draws of the candidates that `words` encode, in their order.

    Args:
        words: uint64 [2, n], uniformly random; not changed.
        table: from `staircase`.
        ties: of the index of a candidate, a source of further random bytes for it.

    Returns:
        int64 [m], m <= n (about .98 n): discrete Gaussians, |value| < 15 sigma.
    """
    first, second = words
    slot = (first >> np.uint64(64 - _SLOT)).view(np.int64)
    remainder = (first >> np.uint64(64 - _SLOT - _REMAINDER)) & np.uint64((1 << _REMAINDER) - 1)
    step = np.where(remainder < table.threshold[slot], slot, table.alias[slot])
    uniform = second >> np.uint64(_PLACE)
    place = (second & np.uint64((1 << table.shift) - 1)).view(np.int64)
    size = (step << table.shift) | place
    accepted = uniform < table.squeeze[step]
    open_ = np.flatnonzero(~accepted)
    accepted[open_] = _decide(open_, size[open_], step[open_], uniform[open_], table, ties)
    negative = (first & np.uint64(1)).astype(bool)
    # Zero has one sign only.
    accepted &= ~(negative & (size == 0))
    np.negative(size, out=size, where=negative)
    return np.asarray(size[accepted])


def _decide(
    index: Integers,
    size: Integers,
    step: Integers,
    uniform: Words,
    table: Staircase,
    ties: Callable[[int], Bits],
) -> npt.NDArray[np.bool_]:
    """Whether each candidate is accepted: uniform < scale * exp(-size^2 / (2 sigma^2))."""
    exponent = (size.astype(np.float64) / table.sigma) ** 2 / -2.0
    chance = table.scale[step] * np.exp(exponent) * 2.0**_UNIFORM
    midpoint = uniform.astype(np.float64)
    accepted = midpoint + 1.0 <= chance * (1 - _SLACK)
    undecided = ~accepted & (midpoint < chance * (1 + _SLACK))
    for i in np.flatnonzero(undecided):
        accepted[i] = _tie(int(uniform[i]), int(size[i]), int(step[i]), table, ties(int(index[i])))
    return accepted


def _tie(uniform: int, size: int, step: int, table: Staircase, more: Bits) -> bool:
    """The same decision where floating point cannot make it: bits are added until it is clear."""
    bits, offset = _UNIFORM, 0
    exponent = Fraction(size) ** 2 / (2 * Fraction(table.sigma) ** 2)
    ratio = Fraction(table.numerator, table.weights[step])
    while True:
        low, high = _exponential(exponent, bits)
        if Fraction(uniform + 1, 1 << bits) <= ratio * low:
            return True
        if Fraction(uniform, 1 << bits) >= ratio * high:
            return False
        uniform = (uniform << 64) | int.from_bytes(more(offset), "big")
        bits, offset = bits + 64, offset + 1


def _exponential(exponent: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Bounds of exp(-exponent), exponent in [0, 200], within 2^-bits of one another."""
    digits = bits // 3 + 12
    context = Context(prec=digits)
    argument = context.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator))
    value = Fraction(context.exp(argument))
    # The argument is rounded to `digits` digits (an absolute error of 200 units of its last),
    # the exponential once more.
    error = value * Fraction(1000, 10**digits)
    return value - error, value + error
