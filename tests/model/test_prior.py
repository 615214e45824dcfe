"""The latent prior: coordinates are orthonormal, samples follow it, rows do not mix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.errors import IntegrityError
from medvae.model.prior import (
    SHELLS,
    LatentPrior,
    coordinates,
    directions,
    from_coordinates,
    shells,
)

SHAPE = (2, 4, 6, 4)
SIZE = 192


def prior() -> LatentPrior:
    factor = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    deviation = torch.linspace(1.0, 0.1, SIZE)
    return LatentPrior(SHAPE, torch.arange(SIZE) / SIZE, factor, deviation, torch.ones(SIZE))


@settings(max_examples=20, deadline=None)
@given(shape=st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple))
def test_coordinates_are_orthonormal_and_come_back(shape: tuple[int, ...]) -> None:
    latents = torch.randn(3, *shape)
    values = coordinates(latents)
    torch.testing.assert_close(values.norm(dim=1), latents.flatten(1).norm(dim=1))
    torch.testing.assert_close(from_coordinates(values, shape), latents, rtol=1e-4, atol=1e-4)


def test_directions_start_with_the_means_of_the_channels() -> None:
    assert set(directions(SHAPE)[:2].tolist()) == {0, 96}
    group = shells(SIZE)
    assert group.min() == 0
    assert group.max() == SHELLS - 1
    assert bool((group.diff() >= 0).all())


def test_samples_have_the_stated_moments() -> None:
    one = prior()
    normal = torch.randn(4000, SIZE, generator=torch.Generator().manual_seed(1))
    values = coordinates(one.sample(normal))
    torch.testing.assert_close(values.mean(0), one.mean, atol=0.1, rtol=0.0)
    found = torch.cov(values[:, :2].T)
    torch.testing.assert_close(found, one.factor @ one.factor.T, atol=0.3, rtol=0.1)
    torch.testing.assert_close(values.std(0)[2:], one.std[2:], atol=0.05, rtol=0.1)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    one = prior()
    normal = torch.randn(5, SIZE)
    together = one.sample(normal)
    for i in range(5):
        torch.testing.assert_close(one.sample(normal[i : i + 1])[0], together[i])


def test_procedural_coordinates_give_the_directions_without_covariance() -> None:
    one = prior()
    normal, residual = torch.randn(1, SIZE), torch.randn(1, SIZE)
    values = coordinates(one.sample(normal, residual))
    torch.testing.assert_close(
        values[0, 2:], (one.mean + residual[0] * one.std)[2:], atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(values[:, :2], coordinates(one.sample(normal))[:, :2])


def test_tensors_come_back_and_must_fit() -> None:
    one = prior()
    again = LatentPrior.from_tensors(one.to_tensors(), SHAPE)
    normal = torch.randn(1, SIZE)
    assert torch.equal(again.sample(normal), one.sample(normal))
    for broken in (
        one.to_tensors() | {"mean": torch.zeros(3)},
        one.to_tensors() | {"factor": torch.zeros(2, 3)},
        one.to_tensors() | {"structure": torch.zeros(SIZE)},
        {k: v for k, v in one.to_tensors().items() if k != "shape"},
    ):
        with pytest.raises(IntegrityError, match="prior"):
            LatentPrior.from_tensors(broken, SHAPE)
    with pytest.raises(IntegrityError, match="does not fit"):
        LatentPrior.from_tensors(one.to_tensors(), (2, 4, 4, 6))
