"""The exact sampler: its law against exact probabilities, its decisions against rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from medvae.privacy import discrete
from medvae.privacy.discrete import draw, staircase

SIGMAS = [64.0, 100.3, 127.9, 1000.5, 2.0**20 + 0.25, 1.5 * 2.0**30, math.nextafter(2.0**31, 0)]


def words(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 2**64, (2, count), dtype=np.uint64)


def seeded_ties(index: int):
    return lambda offset: np.random.default_rng([index, offset]).bytes(8)


@pytest.mark.parametrize("sigma", [64.0, 100.3, 127.9])
def test_every_integer_has_its_exact_probability(sigma: float) -> None:
    values = np.concatenate(
        [draw(words(200_000, i), staircase(sigma), seeded_ties) for i in range(10)]
    )
    reach = int(4.5 * sigma)
    integers = np.arange(-reach, reach + 1)
    weights = np.exp(-(integers**2) / (2 * sigma**2))
    everything = np.exp(-(np.arange(-20 * 128, 20 * 128 + 1) ** 2) / (2 * sigma**2)).sum()
    expected = len(values) * weights / everything
    seen = np.bincount(values[np.abs(values) <= reach] + reach, minlength=len(integers))
    kept = expected > 5
    assert kept.sum() > 6 * sigma
    assert (
        stats.chisquare(seen[kept], expected[kept] * seen[kept].sum() / expected[kept].sum()).pvalue
        > 1e-4
    )
    assert (np.abs(values) > reach).sum() < 60


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_staircase_is_never_below_the_curve(sigma: float) -> None:
    table = staircase(sigma)
    steps = table.weights.index(next(w for w in reversed(table.weights) if w))
    assert sum(table.weights) == 1 << 48
    for step in (0, 1, 7, steps // 2, steps - 1):
        exponent = Fraction(step << table.shift) ** 2 / (2 * Fraction(sigma) ** 2)
        _, high = discrete._exponential(exponent, 200)
        assert table.weights[step] >= high * table.numerator
    # What is accepted at once would be accepted exactly, at the far end of its step.
    for step in (0, 5, 64, 300, steps - 1):
        end = Fraction((step + 1) << table.shift) ** 2 / (2 * Fraction(sigma) ** 2)
        low, _ = discrete._exponential(end, 200)
        chance = low * table.numerator / table.weights[step] if step < steps else 0
        assert Fraction(int(table.squeeze[step]), 1 << 40) <= chance


@pytest.mark.parametrize("sigma", [*SIGMAS, math.nextafter(2.0**30, 0), math.nextafter(128.0, 0)])
def test_place_and_uniform_number_share_no_bit(sigma: float) -> None:
    table = staircase(sigma)
    assert sigma / 128 < 1 << table.shift <= sigma / 64
    assert table.shift <= discrete._PLACE
    assert discrete._PLACE + discrete._UNIFORM == 64


@pytest.mark.parametrize("sigma", SIGMAS)
def test_alias_tables_give_each_step_its_weight(sigma: float) -> None:
    table = staircase(sigma)
    total = [0] * len(table.weights)
    for slot, (threshold, alias) in enumerate(zip(table.threshold, table.alias, strict=True)):
        total[slot] += int(threshold)
        total[int(alias)] += (1 << 37) - int(threshold)
    assert total == list(table.weights)


def test_decimal_and_floating_point_decide_alike(monkeypatch) -> None:
    # With no trust in floating point at all, each decision beside the curve is made in decimals.
    random = words(4000, 3)
    quick = draw(random, staircase(100.3), seeded_ties)
    monkeypatch.setattr(discrete, "_SLACK", 0.5)
    slow = draw(random, staircase(100.3), seeded_ties)
    assert np.array_equal(quick, slow)


def test_a_tie_is_broken_by_further_bits() -> None:
    table = staircase(100.3)
    size, step = 130, 130 >> table.shift
    exponent = Fraction(size) ** 2 / (2 * Fraction(table.sigma) ** 2)
    low, _ = discrete._exponential(exponent, 400)
    chance = low * table.numerator / table.weights[step]
    # A uniform number that agrees with the probability in 40 + 128 bits.
    bits = int(chance * (1 << 168))
    below = [(bits >> 64) & (2**64 - 1), bits & (2**64 - 1), 0]
    above = [below[0], below[1], 2**64 - 1]
    answers = []
    for tail in (below, above):
        asked = []

        def more(offset: int, tail=tail, asked=asked) -> bytes:
            asked.append(offset)
            return tail[offset].to_bytes(8, "big")

        answers.append(discrete._tie(bits >> 128, size, step, table, more))
        assert asked == [0, 1, 2]
    assert answers == [True, False]


@pytest.mark.parametrize("z", [0, 1, 3, 8, 14])
@pytest.mark.parametrize("sigma", [2.0**30, 1.99 * 2.0**30])
def test_the_discrete_and_the_rounded_gaussian_agree_as_the_accounting_says(z, sigma) -> None:
    import mpmath

    with mpmath.workdps(90):
        s, n = mpmath.mpf(sigma), mpmath.mpf(int(z * sigma))
        rounded = mpmath.ncdf((0.5 - n) / s) - mpmath.ncdf((-0.5 - n) / s)
        # The sum over all integers is sigma sqrt(2 pi) to within exp(-2 pi^2 sigma^2).
        exact = mpmath.exp(-(n**2) / (2 * s**2)) / (s * mpmath.sqrt(2 * mpmath.pi))
        assert abs(mpmath.log(rounded / exact)) <= (z**2 + 1) / (24 * s**2) * 1.001


def test_sigma_out_of_range_is_refused() -> None:
    for sigma in (63.0, 2.0**31, math.nan, -1.0):
        with pytest.raises(ValueError, match="sigma"):
            staircase(sigma)
