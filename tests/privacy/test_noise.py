"""Noise, sampling and one-shot releases: distribution, reproducibility, separation of streams."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medvae.errors import UsageError
from medvae.privacy import Mechanism, NoiseSource, PoissonSampler, gaussian_release, run_key
from medvae.privacy.gaussian import clipped
from medvae.privacy.lattice import MARGIN, Lattice
from medvae.privacy.noise import BLOCK

KEY = bytes(range(32))
SIGMA = 1.5 * 2.0**30
KNOWN = [747208051, -812560231, 294480800, -47086655]


def draws(count: int, sigma: float = SIGMA, stream: str = "a", step: int = 0) -> np.ndarray:
    return NoiseSource(KEY).discrete_gaussian(count, sigma, stream=stream, step=step)


def test_noise_has_the_right_distribution() -> None:
    values = draws(1_000_000) / SIGMA
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(values.mean()) < 4e-3
    assert abs(values.var() - 1) < 6e-3
    assert abs(stats.skew(values)) < 1e-2
    assert abs(stats.kurtosis(values)) < 2e-2
    # Both tails, and no correlation between neighbours.
    assert (np.abs(values) > 4).sum() == pytest.approx(63, abs=35)
    for lag in (1, BLOCK // 2, BLOCK):
        assert abs((values[:-lag] * values[lag:]).mean()) < 5e-3


def test_speed_on_this_machine() -> None:
    # The target of 20 million a second is scripts/bench privacy's; here only a regression by
    # a factor of many is caught, in processor time, whatever else the machine does.
    draws(BLOCK)
    began = time.process_time()
    draws(2_000_000, step=1)
    assert 2_000_000 / (time.process_time() - began) > 2e6


@settings(deadline=None, max_examples=25)
@given(count=st.integers(0, 3 * BLOCK), more=st.integers(0, BLOCK), step=st.integers(0, 2**40))
def test_values_depend_on_position_only(count: int, more: int, step: int) -> None:
    assert np.array_equal(draws(count + more, step=step)[:count], draws(count, step=step))


def test_known_values_do_not_change() -> None:
    # A resumed run must draw what the interrupted one drew, also after an upgrade and elsewhere.
    assert draws(4, stream="finetune", step=5).tolist() == KNOWN


def test_a_binding_separates_noise() -> None:
    first = NoiseSource(KEY, "cpu fp32").discrete_gaussian(1000, SIGMA, stream="a", step=0)
    other = NoiseSource(KEY, "cpu bf16").discrete_gaussian(1000, SIGMA, stream="a", step=0)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.15
    assert NoiseSource(KEY, "a").commitment() != NoiseSource(KEY, "b").commitment()


def test_keys_streams_and_steps_are_separate() -> None:
    seen = [
        draws(1000),
        draws(1000, step=1),
        draws(1000, stream="b"),
        draws(1000, step=1 << 32),
        NoiseSource(bytes(32)).discrete_gaussian(1000, SIGMA, stream="a", step=0),
    ]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


@pytest.mark.parametrize("step", [-1, 2**63, 1.0])
def test_bad_arguments_are_refused(step) -> None:
    with pytest.raises(UsageError):
        draws(1, step=step)
    with pytest.raises(UsageError):
        draws(1, stream="")
    for sigma in (0.0, 63.9, 2.0**31, math.nan):
        with pytest.raises(UsageError):
            draws(1, sigma=sigma)
    with pytest.raises(UsageError):
        NoiseSource(b"short")


def test_generators_are_reproducible_and_separate() -> None:
    source = NoiseSource(KEY)
    draws = {
        torch.rand((), generator=source.generator(stream=s, step=t, index=i)).item()
        for s in ("a", "b")
        for t in (0, 1)
        for i in (0, 1)
    }
    assert len(draws) == 8
    named = NoiseSource(KEY).generator(stream="a", step=0).initial_seed()
    assert named != NoiseSource(KEY).generator(stream="generator a", step=0).initial_seed()
    first, again = (source.generator(stream="a", step=1, index=2) for _ in range(2))
    assert torch.equal(torch.rand(9, generator=first), torch.rand(9, generator=again))


def test_sampling_is_poisson() -> None:
    sampler = PoissonSampler(KEY, 40, 0.3, "finetune")
    batches = [sampler.batch(step) for step in range(3000)]
    sizes = np.array([len(batch) for batch in batches])
    assert sizes.mean() == pytest.approx(12, abs=0.25)
    assert sizes.var() == pytest.approx(40 * 0.3 * 0.7, rel=0.12)
    counts = np.bincount([index for batch in batches for index in batch], minlength=40)
    assert (np.abs(counts - 900) < 5 * np.sqrt(3000 * 0.21)).all()
    together = sum(3 in batch and 7 in batch for batch in batches) / 3000
    assert together == pytest.approx(0.09, abs=0.025)
    assert batches[17] == PoissonSampler(KEY, 40, 0.3, "finetune").batch(17)
    assert batches[:50] != [PoissonSampler(KEY, 40, 0.3, "other").batch(i) for i in range(50)]


@pytest.mark.parametrize("rate", [0.5, 0.25, 0.1, 1e-3])
def test_sampling_has_exactly_its_threshold(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patient takes part when 64 random bits are below q * 2^64, and not when they are equal."""
    threshold = int(rate * 2.0**64)
    draws = np.array([0, threshold - 1, threshold, threshold + 1, 2**64 - 1], "<u8")
    monkeypatch.setattr("medvae.privacy.sampler.keystream", lambda key, size: draws.tobytes())
    assert PoissonSampler(b"k" * 32, len(draws), rate, "s").batch(0) == [0, 1]


def test_sampling_at_the_extremes() -> None:
    assert PoissonSampler(KEY, 5, 1.0, "a").batch(9) == [0, 1, 2, 3, 4]
    assert any(PoissonSampler(KEY, 3, 0.1, "a").batch(step) == [] for step in range(10))
    for rate in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(UsageError):
            PoissonSampler(KEY, 5, rate, "a")
    with pytest.raises(UsageError):
        PoissonSampler(KEY, 5, 0.5, "a").batch(-1)


def test_run_keys_are_bound_to_everything() -> None:
    secret, plan, data = b"s" * 32, b"p" * 32, b"d" * 32
    keys = {
        run_key(secret, plan, data, "noise"),
        run_key(b"t" * 32, plan, data, "noise"),
        run_key(secret, b"q" * 32, data, "noise"),
        run_key(secret, plan, b"e" * 32, "noise"),
        run_key(secret, plan, data, "sampling"),
        run_key(secret, plan + b"d", b"d" * 31, "noise"),
    }
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}
    for arguments in [
        (b"s" * 31, plan, data, "x"),
        (secret, b"", data, "x"),
        (secret, plan, data, ""),
    ]:
        with pytest.raises(UsageError):
            run_key(*arguments)


def release_of(vectors, **changes) -> np.ndarray:
    arguments = {
        "clip": 2.0,
        "mechanism": Mechanism("prior", 1.0, 1, 1.5),
        "divisor": 4.0,
        "noise": NoiseSource(KEY),
        "dimension": 3,
    } | changes
    return gaussian_release(vectors, **arguments)


def test_a_release_is_the_clipped_mean_plus_noise() -> None:
    noise = release_of([])
    vectors = [np.array([3.0, 4.0, 0.0]), np.array([0.1, 0.0, 0.2]), np.array([0.0, -9.0, 0.0])]
    expected = (vectors[0] * 2 / 5 + vectors[1] + vectors[2] * 2 / 9) / 4
    assert release_of(vectors) - noise == pytest.approx(expected, abs=1e-5)
    draws = np.concatenate(
        [release_of([], mechanism=Mechanism(f"m{i}", 1.0, 1, 1.5)) for i in range(900)]
    )
    assert draws.std() == pytest.approx(1.5 * 2 / 4, rel=0.06)


def test_a_release_has_exactly_the_planned_noise() -> None:
    """Noise of multiplier * clip / divisor, to the bit: nothing scales it once more."""
    lattice = Lattice.of(1.5, 2.0)
    assert lattice.sigma * lattice.grid == pytest.approx(1.5 * 2.0, rel=1e-9)
    drawn = NoiseSource(KEY).discrete_gaussian(3, lattice.sigma, stream="prior", step=0)
    assert np.array_equal(release_of([]), drawn * lattice.grid / 4.0)


@settings(deadline=None)
@given(
    others=st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), max_size=4),
    one=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=3, max_size=3),
)
def test_one_patient_moves_a_release_by_clip_over_divisor_at_most(others, one) -> None:
    base = [np.array(vector) for vector in others]
    moved = release_of([*base, np.array(one)]) - release_of(base)
    assert np.isfinite(moved).all()
    assert np.linalg.norm(moved) <= 2.0 / 4.0 * (1 + 1e-5)


@pytest.mark.parametrize("excess", [-1e-6, 1e-6, 0.05])
@pytest.mark.parametrize("dimension", [1, 3, 1000])
def test_one_shot_vectors_are_clipped_at_exactly_the_clip(excess: float, dimension: int) -> None:
    """The grid is far finer than a millionth of the clip, so its rounding hides nothing."""
    clip = 2.0
    lattice = Lattice.of(1.5, clip)
    vector = np.random.default_rng(dimension).normal(size=dimension)
    vector *= clip * (1 + excess) / np.linalg.norm(vector)
    norm = float(np.linalg.norm(clipped(vector, clip, lattice, dimension) * lattice.grid))
    expected = clip * min(1 + excess, 1 - MARGIN)
    assert norm <= clip
    assert norm == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": 0.0},
        {"clip": float("nan")},
        {"divisor": -1.0},
        {"dimension": 0},
        {"mechanism": Mechanism("prior", 0.5, 1, 1.5)},
        {"step": 1},
        {"dimension": 2},
    ],
)
def test_bad_releases_are_refused(changes) -> None:
    with pytest.raises(UsageError):
        release_of([np.zeros(3)], **changes)
