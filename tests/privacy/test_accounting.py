"""Epsilon: against a closed form, against a second accountant, and what is refused."""

from __future__ import annotations

import math

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from medvae.errors import UsageError
from medvae.privacy import Mechanism, epsilon, second_epsilon
from medvae.privacy.accounting import check_patients, events
from medvae.privacy.gaussian_dp import gaussian_epsilon

GRID = [
    [Mechanism("a", 1.0, 1, 1.0)],
    [Mechanism("a", 1.0, 1, 0.5), Mechanism("b", 1.0, 3, 2.0)],
    [Mechanism("a", 0.5, 40, 3.0), Mechanism("b", 1.0, 1, 2.0), Mechanism("c", 1.0, 4, 5.0)],
    [Mechanism("a", 0.02, 500, 1.0)],
    [Mechanism("a", 0.25, 100, 4.0), Mechanism("b", 0.5, 20, 2.5)],
    [Mechanism("a", 0.9, 10, 2.0), Mechanism("b", 0.01, 100, 0.8), Mechanism("c", 1.0, 1, 3.0)],
    [Mechanism("a", 0.5, 100, 20.0)],
]


def exact_gaussian(mu: float, delta: float) -> float:
    """Balle and Wang 2018, theorem 8: delta of the Gaussian mechanism, inverted."""

    def excess(eps: float) -> float:
        high = norm.cdf(mu / 2 - eps / mu)
        return float(high - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu) - delta)

    return float(brentq(excess, 0, 100))


@pytest.mark.parametrize("mechanisms", GRID)
@pytest.mark.parametrize("delta", [1e-3, 1e-5])
def test_two_accountants_agree(mechanisms: list[Mechanism], delta: float) -> None:
    assert abs(epsilon(mechanisms, delta) - second_epsilon(mechanisms, delta)) <= 0.02


@pytest.mark.parametrize("noise", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_unsampled_gaussians_cost_what_the_closed_form_says(noise: float, steps: int) -> None:
    truth = exact_gaussian(math.sqrt(steps) / noise, 1e-5)
    found = epsilon([Mechanism("a", 1.0, steps, noise)], 1e-5)
    assert truth - 1e-9 <= found <= truth + 1e-8


@pytest.mark.parametrize("target", [0.1, 1.0, 8.0, 50.0])
def test_the_second_epsilon_on_gaussians_is_another_computation(target: float) -> None:
    mu = brentq(lambda m: gaussian_epsilon(m, 1e-5) - target, 0.01, 20)
    mechanisms = [Mechanism("a", 1.0, 2, math.sqrt(2) / mu)]
    first, second = epsilon(mechanisms, 1e-5), second_epsilon(mechanisms, 1e-5)
    assert first == pytest.approx(target, abs=1e-6)
    assert first != second
    assert abs(first - second) < 1e-6


def test_composition_is_a_multiset() -> None:
    one, two = Mechanism("a", 0.5, 10, 2.0), Mechanism("b", 1.0, 1, 3.0)
    assert epsilon([one, two], 1e-5) == epsilon([two, one], 1e-5)
    split = [Mechanism("x", 0.5, 4, 2.0), Mechanism("y", 0.5, 6, 2.0), two]
    assert events(split) == events([one, two])
    assert epsilon([], 1e-5) == 0.0


def test_more_of_anything_costs_more() -> None:
    base = epsilon([Mechanism("a", 0.5, 10, 2.0)], 1e-5)
    assert epsilon([Mechanism("a", 0.6, 10, 2.0)], 1e-5) > base
    assert epsilon([Mechanism("a", 0.5, 11, 2.0)], 1e-5) > base
    assert epsilon([Mechanism("a", 0.5, 10, 1.9)], 1e-5) > base
    assert epsilon([Mechanism("a", 0.5, 10, 2.0)], 1e-6) > base


@pytest.mark.parametrize(
    "values",
    [
        ("a", 0.0, 1, 1.0),
        ("a", 1.1, 1, 1.0),
        ("a", -0.5, 1, 1.0),
        ("a", math.nan, 1, 1.0),
        ("a", 0.5, 0, 1.0),
        ("a", 0.5, -3, 1.0),
        ("a", 0.5, 1.5, 1.0),
        ("a", 0.5, True, 1.0),
        ("a", 0.5, 1, 0.0),
        ("a", 0.5, 1, -1.0),
        ("a", 0.5, 1, math.nan),
        ("a", 0.5, 1, math.inf),
        ("a", 0.5, 1, "1"),
        ("", 0.5, 1, 1.0),
    ],
)
def test_values_out_of_range_are_refused(values: tuple) -> None:
    with pytest.raises(UsageError):
        Mechanism(*values)


@pytest.mark.parametrize("delta", [0.0, -1e-5, 1.0, math.nan, math.inf, 1e-300, "1e-5"])
def test_delta_out_of_range_is_refused(delta: float) -> None:
    with pytest.raises(UsageError, match="delta"):
        epsilon([Mechanism("a", 1.0, 1, 1.0)], delta)


@pytest.mark.parametrize("patients", [0, -1, 2.5, True])
def test_patients_are_counted(patients: int) -> None:
    with pytest.raises(UsageError):
        check_patients(patients)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("anatomy-means", "anatomy.means"),
        ("anatomy-means.centre", "anatomy.means.centre"),
        ("atlas-refine-again", "atlas.refine-again"),
        ("atlas-motion", "atlas.deformation"),
        ("atlas-motion.centre", "atlas.deformation.centre"),
        ("finetune", "dpsgd"),
        ("prior.mean", "prior.mean"),
    ],
)
def test_names_of_all_parts_are_read_in_one_style(name: str, title: str) -> None:
    assert Mechanism(name, 1.0, 1, 1.0).title == title
    # The name itself stays: plans, ledgers and noise streams know a mechanism by it.
    assert Mechanism(name, 1.0, 1, 1.0).name == name
