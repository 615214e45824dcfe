"""Readings of a plan: against closed forms, published values and one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from medvae.errors import UsageError
from medvae.privacy import (
    Mechanism,
    epsilon,
    epsilon_of_loss,
    epsilon_replace_one,
    gaussian_mu,
    true_positive_rates,
)
from medvae.privacy.gaussian_dp import gaussian_delta, gaussian_epsilon

# A release of several mechanisms, whose mu is 1.84 in all.
MU = 1.84
GAUSSIAN = (
    Mechanism("mean", 1.0, 1, math.sqrt(2) / MU),
    Mechanism("refine", 1.0, 3, math.sqrt(6) / MU),
)
SAMPLED = (Mechanism("mean", 1.0, 1, 0.72), Mechanism("finetune", 0.5, 40, 7.0))
# As good as un-sampled, but by way of the privacy loss distribution.
NEARLY = tuple(Mechanism(one.name, 1 - 1e-9, one.steps, one.noise_multiplier) for one in GAUSSIAN)


def test_mu_adds_up_in_squares_and_is_none_where_patients_are_sampled() -> None:
    assert gaussian_mu(GAUSSIAN) == pytest.approx(MU, rel=1e-12)
    assert gaussian_mu([Mechanism("one", 1.0, 4, 2.0)]) == pytest.approx(1.0)
    assert gaussian_mu(()) == 0.0
    assert gaussian_mu(SAMPLED) is None
    assert gaussian_mu(NEARLY) is None


@pytest.mark.parametrize("mu", [0.05, 0.5, 1.0, 1.84, 4.0, 9.0])
@pytest.mark.parametrize("at", [0.0, 0.3, 2.0, 8.0])
def test_delta_is_the_hockey_stick_of_two_normals(mu: float, at: float) -> None:
    """By quadrature over E_P[(1 - e^(at - L))+], L the loss of N(mu, 1) against N(0, 1)."""
    start = at / mu + mu / 2
    value, _ = integrate.quad(
        lambda x: stats.norm.pdf(x, mu) - math.exp(at) * stats.norm.pdf(x),
        start,
        max(start, mu) + 12,
        epsabs=1e-14,
        limit=400,
    )
    assert gaussian_delta(mu, at) == pytest.approx(value, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize(
    ("delta", "expected"), [(1e-4, 8.00), (1e-5, 9.03), (1e-6, 9.96), (1e-9, 12.3)]
)
def test_known_epsilons_of_mu_1_84(delta: float, expected: float) -> None:
    assert gaussian_epsilon(MU, delta) == pytest.approx(expected, abs=0.05)
    assert gaussian_delta(MU, gaussian_epsilon(MU, delta)) == pytest.approx(delta, rel=1e-6)
    assert epsilon(GAUSSIAN, delta) == pytest.approx(gaussian_epsilon(MU, delta), abs=0.002)


def test_known_readings_at_epsilon_8_and_delta_1e_4() -> None:
    mu = optimize.brentq(lambda m: gaussian_epsilon(m, 1e-4) - 8, 1, 3)
    plan = (Mechanism("all", 1.0, 1, 1 / mu),)
    assert mu == pytest.approx(1.84, abs=0.005)
    assert true_positive_rates(plan, [0.01])[0] == pytest.approx(0.31, abs=0.01)
    assert epsilon_replace_one(plan, 1e-4) == pytest.approx(19.8, abs=0.05)


@pytest.mark.parametrize(("target", "times"), [(8.0, 3.1), (3.0, 5.6), (1.0, 12.3)])
def test_the_chance_that_the_loss_exceeds_epsilon_is_more_than_delta(
    target: float, times: float
) -> None:
    """Why the card states epsilon': P[loss > epsilon] is several times delta."""
    delta = 1e-4
    mu = optimize.brentq(lambda m: gaussian_epsilon(m, delta) - target, 0.05, 5)
    chance = stats.norm.sf((target - mu**2 / 2) / mu)
    assert chance / delta == pytest.approx(times, rel=0.02)
    found = epsilon_of_loss((Mechanism("all", 1.0, 1, 1 / mu),), delta)
    assert found > target
    assert stats.norm.sf((found - mu**2 / 2) / mu) == pytest.approx(delta, rel=1e-9)


def test_the_loss_of_a_sampled_plan_against_simulation() -> None:
    """The share of simulated losses above epsilon' is delta, for a delta that can be seen."""
    rng, delta, q, noise, steps = np.random.default_rng(7), 0.01, 0.3, 1.5, 8
    plan = (Mechanism("finetune", q, steps, noise),)
    found = epsilon_of_loss(plan, delta)
    present = rng.random((400_000, steps)) < q
    outputs = present + noise * rng.standard_normal(present.shape)
    losses = np.log1p(q * np.expm1((outputs - 0.5) / noise**2)).sum(axis=1)
    spread = 4 * math.sqrt(delta / len(losses))
    assert np.mean(losses > found) <= delta + spread
    # Rounding up of each step's loss costs next to nothing.
    assert np.mean(losses > found - 0.03) >= delta - spread
    assert found > epsilon(plan, delta)


def test_the_loss_distribution_agrees_with_the_closed_forms() -> None:
    rates = [0.001, 0.01, 0.1, 0.5]
    for delta in (1e-3, 1e-5):
        exact = epsilon_of_loss(GAUSSIAN, delta)
        assert exact <= epsilon_of_loss(NEARLY, delta) <= exact + 0.015
        exact = epsilon_replace_one(GAUSSIAN, delta)
        assert exact - 1e-6 <= epsilon_replace_one(NEARLY, delta) <= exact + 0.002
    for bound, exact in zip(
        true_positive_rates(NEARLY, rates), true_positive_rates(GAUSSIAN, rates), strict=True
    ):
        assert exact - 1e-6 <= bound <= exact + 0.001


def test_sampling_helps_and_replacing_costs_more_than_removing() -> None:
    delta = 1e-5
    assert epsilon_replace_one(SAMPLED, delta) > epsilon(SAMPLED, delta)
    assert epsilon_replace_one(SAMPLED, delta) > epsilon_of_loss(SAMPLED, delta)
    every = tuple(Mechanism(m.name, 1.0, m.steps, m.noise_multiplier) for m in SAMPLED)
    for reading in (epsilon_of_loss, epsilon_replace_one):
        assert reading(SAMPLED, delta) < reading(every, delta)


@pytest.mark.parametrize("plan", [GAUSSIAN, SAMPLED], ids=["gaussian", "sampled"])
def test_the_trade_off_curve_is_one(plan: tuple[Mechanism, ...]) -> None:
    """From 0 to 1, rising, concave, above the diagonal."""
    rates = np.linspace(0, 1, 41)
    curve = np.array(true_positive_rates(plan, list(rates)))
    assert curve[0] == pytest.approx(0, abs=1e-9)
    assert curve[-1] == 1
    assert (curve >= rates).all()
    assert (np.diff(curve) >= -1e-9).all()
    assert (np.diff(curve, 2) <= 1e-6).all()


def test_nothing_run_is_nothing_lost() -> None:
    assert epsilon_of_loss((), 1e-5) == 0.0
    assert epsilon_replace_one((), 1e-5) == 0.0
    assert true_positive_rates((), [0.0, 0.2, 1.0]) == [0.0, 0.2, 1.0]


def test_bad_arguments() -> None:
    for delta in (0.0, 1.0, math.nan, -1e-5):
        for reading in (epsilon_of_loss, epsilon_replace_one):
            with pytest.raises(UsageError, match="delta"):
                reading(GAUSSIAN, delta)
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="false positive"):
            true_positive_rates(GAUSSIAN, [0.1, rate])
