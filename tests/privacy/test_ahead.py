"""Noise drawn while gradients are taken: the same values, and no step survives its failure."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from engine_reference import build, loss, trainer_of

from medvae.privacy import Mechanism, NoiseSource
from medvae.privacy.ahead import NoiseAhead, Wanted

SIGMA = 1.5 * 2.0**30
SOURCE = NoiseSource(bytes(32))


def direct(request: Wanted) -> np.ndarray:
    return SOURCE.discrete_gaussian(
        request.count, request.sigma, stream=request.stream, step=request.step
    )


def noise_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("noise")]


WANTED = Wanted(30_000, SIGMA, "a", 3)


def test_what_was_begun_is_what_the_source_gives() -> None:
    ahead = NoiseAhead(SOURCE)
    ahead.begin(WANTED)
    ahead.settle()
    assert np.array_equal(ahead.take(WANTED), direct(WANTED))
    # Taken once: the second time it is drawn again.
    assert np.array_equal(ahead.take(WANTED), direct(WANTED))


@pytest.mark.parametrize(
    "other",
    [
        Wanted(29_999, SIGMA, "a", 3),
        Wanted(30_000, SIGMA / 2, "a", 3),
        Wanted(30_000, SIGMA, "a chunk 4", 3),
        Wanted(30_000, SIGMA, "a", 4),
    ],
)
def test_what_was_begun_for_another_stream_is_not_used(other: Wanted) -> None:
    ahead = NoiseAhead(SOURCE)
    ahead.begin(WANTED)
    assert np.array_equal(ahead.take(other), direct(other))
    assert ahead._begun is None


class Failing(NoiseSource):
    def discrete_gaussian(self, count, sigma, *, stream, step):
        raise MemoryError("no room for noise")


class Counting(NoiseSource):
    drawn: tuple[tuple[str, int, str], ...] = ()

    def discrete_gaussian(self, count, sigma, *, stream, step):
        self.drawn += ((stream, step, threading.current_thread().name.split("_")[0]),)
        return super().discrete_gaussian(count, sigma, stream=stream, step=step)


def patients(count: int) -> list[torch.Tensor]:
    return [
        torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(count)
    ]


def weights_after(steps: int, ahead: bool, **changes) -> torch.Tensor:
    model = build(["conv", "group norm"], 2, 4, 5)
    trainer = trainer_of(model, **changes)
    trainer._noise_ahead = ahead
    for step in range(steps):
        trainer.step(step, patients(3), loss)
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_trainer_has_the_same_bits_with_noise_ahead(chunk: int) -> None:
    source = Counting(bytes(32))
    ours = weights_after(3, True, chunk=chunk, noise=source)
    assert torch.equal(ours, weights_after(3, False, chunk=chunk))
    stream = "test" if chunk == 1 else "test chunk 3"
    assert source.drawn == tuple((stream, step, "noise") for step in range(3))
    assert not noise_threads()


def test_a_failure_of_the_thread_fails_the_step_and_nothing_has_moved() -> None:
    model = build(["conv"], 2, 4, 5)
    before = [p.detach().clone() for p in model.parameters()]
    trainer = trainer_of(model, noise=Failing(bytes(32)))
    trainer._noise_ahead = True
    with pytest.raises(MemoryError, match="no room for noise"):
        trainer.step(0, patients(2), loss)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    # It has not happened: with a sound source it is taken again.
    trainer._optimizer._ahead = NoiseAhead(NoiseSource(bytes(32)))
    trainer.step(0, patients(2), loss)
    other = build(["conv"], 2, 4, 5)
    trainer_of(other).step(0, patients(2), loss)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_failed_step_leaves_no_noise() -> None:
    model = build(["conv"], 2, 4, 5)
    trainer = trainer_of(model, mechanism=Mechanism("test", 0.5, 50, 1.0))
    trainer._noise_ahead = True

    def failing(m: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.step(0, patients(2), failing)
    assert trainer._optimizer._ahead._begun is None
    assert not noise_threads()
