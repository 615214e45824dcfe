"""The latent prior that noisy sums make, of many patients and of few."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvae.config import PriorConfig
from medvae.model.prior import LatentPrior
from medvae.privacy import NoiseSource
from medvae.privacy.accounting import Mechanism
from medvae.progress import Silent
from medvae.train.prior_fit import MEAN, SHELL, PublicScale, fit_prior

SHAPE = (1, 4, 6, 4)
SIZE = int(np.prod(SHAPE))
PUBLIC = PublicScale(np.full(SIZE, 2.0), np.zeros(SIZE), np.full(SIZE, 2.0))


def fitted(patients: int, multiplier: float, strength: float, key: int = 1) -> LatentPrior:
    """A prior of patients whose coordinates vary by so much; small shells are found too low."""
    values = np.random.default_rng(5).normal(0, strength, (patients, 1, SIZE))
    cfg = PriorConfig(rank=0, clip=2.0, temperature=1.0)
    mechanisms = {name: Mechanism(name, 1.0, 1, multiplier) for name in (MEAN, SHELL)}
    return fit_prior(
        lambda index: torch.from_numpy(values[index]),
        patients,
        SHAPE,
        PUBLIC,
        cfg,
        mechanisms,
        NoiseSource(bytes([key] * 32)),
        Silent(),
    )


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_the_strength_of_many_patients_is_measured(strength: float) -> None:
    prior = fitted(2000, 2.0, strength)
    assert prior.std.numpy() == pytest.approx(strength, rel=0.25)


def test_noise_does_not_make_the_strength_of_few_patients() -> None:
    """The ratio to what is expected would be some fifty times too large, or none at all."""
    stds = np.stack([fitted(2, 30.0, 2.0, key).std.numpy() for key in range(1, 21)])
    assert stds.max() < 4 * 2.0
    assert stds.min() > 2.0 / 4
