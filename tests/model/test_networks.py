"""What a network must keep to: shapes, independence of samples, its linear path."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.config import ModelConfig
from medvae.errors import UsageError
from medvae.model import VAE, build, frontend, parameters_for
from medvae.model.adapters import capacity, choose
from medvae.privacy import check

MULTIPLE = st.integers(1, 6).map(lambda n: 4 * n)
KINDS = [
    ModelConfig(preset="tiny", latent_channels=8),
    ModelConfig(preset="tiny", latent_channels=4),
    ModelConfig(preset="tiny", latent_channels=3, front_end="none"),
    ModelConfig(preset="tiny", latent_channels=8, kind="transformer"),
    ModelConfig(preset="tiny", latent_channels=3, kind="transformer", front_end="none"),
]
NAMES = ["eighth", "sixteenth", "plain", "transformer", "plain-transformer"]


def noisy(model: VAE, seed: int = 0) -> VAE:
    """Weights that are nowhere zero, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("cfg", KINDS, ids=NAMES)
@settings(max_examples=8, deadline=None)
@given(size=st.tuples(MULTIPLE, MULTIPLE, MULTIPLE), channels=st.integers(1, 2))
def test_any_multiple_of_the_factor_goes_through(
    cfg: ModelConfig, size: tuple[int, int, int], channels: int
) -> None:
    model = noisy(build(cfg, channels))
    x = torch.rand(1, channels, *size) * 2 - 1
    mean, logvar = model.encode(x)
    assert tuple(mean.shape[1:]) == model.latent_shape(size) == tuple(logvar.shape[1:])
    assert model.decode(mean).shape == x.shape
    torch.testing.assert_close(model.from_spatial_latent(model.spatial_latent(mean)), mean)


def test_two_dimensions_go_through() -> None:
    model = noisy(build(ModelConfig(preset="tiny", latent_channels=4), dims=2))
    x = torch.rand(2, 1, 16, 24)
    mean, _ = model.encode(x)
    assert mean.shape == (2, 4, 4, 6)
    assert model.decode(mean).shape == x.shape


@pytest.mark.parametrize("cfg", KINDS, ids=NAMES)
def test_a_batch_of_two_is_two_batches_of_one(cfg: ModelConfig) -> None:
    model = noisy(build(cfg))
    x = torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    noise = torch.randn(2, *model.latent_shape((16, 16, 16)))
    together = model.loss(x, noise)
    alone = torch.cat([model.loss(x[i : i + 1], noise[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    disturbed = model.loss(torch.stack([x[0], 5 * x[1]]), noise)
    torch.testing.assert_close(together[0], disturbed[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cfg", KINDS, ids=NAMES)
def test_the_privacy_guard_accepts_every_network(cfg: ModelConfig) -> None:
    check(build(cfg))


@pytest.mark.parametrize("kind", ["conv", "transformer"])
def test_a_fresh_network_is_the_linear_code(kind: Literal["conv", "transformer"]) -> None:
    model = build(ModelConfig(preset="tiny", latent_channels=8, kind=kind))
    x = torch.rand(1, 1, 16, 20, 12)
    restored = model.decode(model.encode(x)[0])
    torch.testing.assert_close(restored, frontend.synthesise(frontend.analyse(x)))


def test_brightness_and_contrast_go_through_unchanged() -> None:
    model = noisy(build(ModelConfig(preset="tiny", latent_channels=8)))
    x = torch.rand(1, 1, 16, 16, 16) - 0.5
    one = model.decode(model.encode(x)[0])
    other = model.decode(model.encode(1.5 * x + 0.2)[0])
    torch.testing.assert_close(other, 1.5 * one + 0.2, rtol=1e-2, atol=1e-2)


@given(size=st.lists(st.integers(1, 12).map(lambda n: 2 * n), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_the_linear_path_keeps_an_eighth_exactly(size: list[int]) -> None:
    index, gain = frontend.kept(tuple(size))
    assert len(set(index.tolist())) == len(index)
    assert bool((gain > 0).all())
    half = torch.randn(2, 1, *[n // 2 for n in size])
    torch.testing.assert_close(
        frontend.analyse(frontend.synthesise(half)), half, rtol=1e-4, atol=1e-4
    )
    even = torch.randn(2, 3, *size)
    torch.testing.assert_close(frontend.unfold(frontend.fold(even)), even)
    x = torch.randn(1, 1, *size)
    missed = x - frontend.synthesise(frontend.analyse(x))
    torch.testing.assert_close(frontend.beyond(x), missed, rtol=1e-4, atol=1e-4)


def test_what_is_kept_is_rounder_than_a_cube() -> None:
    index, _ = frontend.kept((32, 32, 32))
    k = torch.stack([index // 1024, index // 32 % 32, index % 32]).float()
    assert k.square().sum(0).max() < 3 * 15**2
    assert k.max() > 15


def test_same_seed_same_weights_and_no_global_randomness() -> None:
    cfg = KINDS[0]
    state = torch.random.get_rng_state()
    one, other = build(cfg, seed=4), build(cfg, seed=5)
    again = build(cfg, seed=4)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, other, again)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    torch.random.set_rng_state(state)


def test_sizes_that_do_not_divide_are_refused() -> None:
    model = build(KINDS[0])
    with pytest.raises(UsageError, match="multiples of 4"):
        model.latent_shape((32, 47, 32))
    with pytest.raises(UsageError, match="latent_channels is at most 4"):
        build(ModelConfig(preset="tiny", latent_channels=8), dims=2)


def test_few_parameters_for_few_patients() -> None:
    model = build(ModelConfig(preset="small", latent_channels=8))
    sizes = {
        c: sum(p.numel() for _, p in parameters_for(model, c)) for c in ("all", "bias", "film")
    }
    assert sizes["film"] <= sizes["bias"] * 2 < sizes["all"]
    assert choose(model, 50, 8.0) == "film"
    assert choose(model, 100_000, 8.0) == "all"
    assert capacity(200, 1.0) < capacity(200, 8.0) < capacity(400, 8.0)
    with pytest.raises(UsageError, match="lora"):
        parameters_for(model, "lora")
