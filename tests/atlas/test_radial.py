"""What is the same all round: found under noise, nothing found in noise, nothing lost without."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.atlas import radial
from medvae.atlas.basis import Basis
from medvae.atlas.statistics import shrink

SHAPE = (20, 24, 16)
BASIS = Basis.below(SHAPE, 0.12)
SIDES = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
FUNCTIONS = radial.design(BASIS, np.ones(SHAPE))
NOISE = np.linspace(0.02, 0.04, len(BASIS))


def _ball(centre: float) -> np.ndarray:
    """Coefficients of a soft ball, so far from the middle along the first axis."""
    far = np.sqrt((SIDES[0] - centre) ** 2 + SIDES[1] ** 2 + SIDES[2] ** 2)
    return BASIS.analyse(1.0 / (1.0 + np.exp(far - 5.0)))


def _error(truth: np.ndarray, seed: int, *, radially: bool) -> float:
    values = truth + NOISE * np.random.default_rng(seed).standard_normal(len(truth))
    part = radial.explained(values, NOISE, FUNCTIONS) if radially else np.zeros_like(values)
    found = part + shrink(values - part, NOISE, BASIS.frequency)
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize(("centre", "factor"), [(0.0, 0.8), (7.0, 1.1)])
def test_a_ball_in_the_middle_is_told_better_and_one_beside_it_hardly_worse(centre, factor):
    truth = _ball(centre)
    plain, better = (
        np.mean([_error(truth, seed, radially=radially) for seed in range(20)])
        for radially in (False, True)
    )
    assert better < factor * plain


def test_of_noise_alone_nothing_is_left_and_without_noise_all_stays():
    drawn = np.random.default_rng(0).standard_normal((200, len(BASIS))) * NOISE
    kept = [np.linalg.norm(radial.explained(one, NOISE, FUNCTIONS) / NOISE) for one in drawn]
    assert np.mean(np.square(kept)) < 0.5 * radial.FUNCTIONS
    values = _ball(0.0)
    assert not radial.explained(values, np.zeros_like(values), FUNCTIONS).any()
