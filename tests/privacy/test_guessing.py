"""The bound from guesses stays below the truth, and is not empty."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.privacy.gaussian_dp import gaussian_epsilon
from medvae.privacy.guessing import epsilon_at_least, exceeds


def guessed(mu: float, members: int, rng: np.random.Generator) -> int:
    """Right guesses of the best attack on patients of a mu-Gaussian-DP model."""
    scores = rng.normal(size=2 * members)
    scores[:members] += mu
    return 2 * int((np.argsort(-scores)[:members] < members).sum())


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.6])
def test_a_faultless_model_is_rarely_accused(mu: float) -> None:
    rng = np.random.default_rng(0)
    assert sum(exceeds(guessed(mu, 50, rng), 50, mu, 0.01) for _ in range(300)) <= 6


def test_the_bound_is_below_the_truth_and_grows_with_right_guesses() -> None:
    rng = np.random.default_rng(1)
    right, members = guessed(2.0, 1000, rng), 1000
    bound = epsilon_at_least(right, members, 1e-5, 0.01)
    assert 0.5 < bound < gaussian_epsilon(2.0, 1e-5)
    bounds = [epsilon_at_least(n, 24, 1e-5, 0.01) for n in (24, 44, 46, 48)]
    assert bounds[0] == 0.0
    assert bounds == sorted(bounds)
    assert bounds[-1] > 2


def test_chance_is_no_evidence() -> None:
    assert epsilon_at_least(50, 50, 1e-5, 0.01) == 0.0
    # One patient on each side can be guessed rightly by chance.
    assert epsilon_at_least(2, 1, 1e-5, 0.01) == 0.0


def test_a_binomial_test_agrees_where_there_is_no_privacy_to_give() -> None:
    """At mu = 0 every set of guesses is as likely: all right in 2 of 20 has chance 1/184,756."""
    from math import comb

    assert exceeds(20, 10, 0.0, 2.0 / comb(20, 10))
    assert not exceeds(20, 10, 0.0, 0.5 / comb(20, 10))
