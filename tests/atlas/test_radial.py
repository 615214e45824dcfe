"""Radial components: better estimates under noise, nothing from noise alone, no loss without."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.atlas.basis import Basis
from medvae.atlas.radial import FUNCTIONS, radial_component, radial_functions
from medvae.atlas.shrinkage import shrink

SHAPE = (20, 24, 16)
BASIS = Basis.below(SHAPE, 0.12)
SIDES = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij")
RADIAL = radial_functions(BASIS, np.ones(SHAPE))
NOISE_STD = np.linspace(0.02, 0.04, len(BASIS))


def _ball(offset: float) -> np.ndarray:
    """Coefficients of a soft ball, `offset` voxels from the centre along the first axis."""
    radius = np.sqrt((SIDES[0] - offset) ** 2 + SIDES[1] ** 2 + SIDES[2] ** 2)
    return BASIS.analyse(1.0 / (1.0 + np.exp(radius - 5.0)))


def _error(truth: np.ndarray, seed: int, *, use_radial: bool) -> float:
    noisy = truth + NOISE_STD * np.random.default_rng(seed).standard_normal(len(truth))
    radial = radial_component(noisy, NOISE_STD, RADIAL) if use_radial else np.zeros_like(noisy)
    estimate = radial + shrink(noisy - radial, NOISE_STD, BASIS.frequency)
    return float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize(("offset", "factor"), [(0.0, 0.8), (7.0, 1.1)])
def test_a_centred_ball_is_estimated_better_and_another_hardly_worse(offset, factor):
    truth = _ball(offset)
    plain, better = (
        np.mean([_error(truth, seed, use_radial=use_radial) for seed in range(20)])
        for use_radial in (False, True)
    )
    assert better < factor * plain


def test_noise_alone_has_hardly_a_radial_component_and_no_noise_has_none():
    noise = np.random.default_rng(0).standard_normal((200, len(BASIS))) * NOISE_STD
    components = [radial_component(row, NOISE_STD, RADIAL) for row in noise]
    norms = [np.linalg.norm(component / NOISE_STD) for component in components]
    assert np.mean(np.square(norms)) < 0.5 * FUNCTIONS
    values = _ball(0.0)
    assert not radial_component(values, np.zeros_like(values), RADIAL).any()
