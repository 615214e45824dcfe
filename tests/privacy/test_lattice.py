"""Noise and output share one grid: the attacks that the old mechanism lost to are at chance."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medvae.errors import UsageError
from medvae.privacy import Mechanism, NoiseSource, gaussian_release
from medvae.privacy.gaussian import clipped
from medvae.privacy.lattice import GRID_BITS, Lattice


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def released(vectors, noise_multiplier: float, clip: float, seed: int) -> np.ndarray:
    return gaussian_release(
        vectors,
        clip=clip,
        mechanism=Mechanism("m", 1.0, 1, noise_multiplier),
        divisor=1.0,
        noise=NoiseSource(key(seed)),
        dimension=len(vectors[0]),
    )


def old_release(total: np.ndarray, std: float, seed: int) -> np.ndarray:
    """The mechanism of format 1: normals on a lattice of their own, the sum on a finer grid."""
    normal = np.rint(np.random.default_rng(seed).standard_normal(len(total)) * 2.0**20) * 2.0**-20
    grid = 2.0 ** (np.floor(np.log2(std)) - 20)
    return np.rint((total + std * normal) / grid) * grid


def reachable(output: np.ndarray, total: np.ndarray, std: float) -> bool:
    """Whether format 1 could have given `output` for the sum `total`: its holes are the leak."""
    grid, step = 2.0 ** (np.floor(np.log2(std)) - 20), std * 2.0**-20
    nearest = np.rint((output - total) / step) * step
    return bool((np.abs(output - total - nearest) <= grid / 2 * (1 + 1e-6)).all())


def verdicts(mechanism) -> list[bool]:
    """Of 200 outputs, half from each of two cohorts 1e-6 apart: whether the guess was right.

    The attacker of `reachable` names the cohort that explains the output; with both or neither
    explaining it, he throws a coin.
    """
    random = np.random.default_rng(5)
    right = []
    for trial in range(200):
        sums = [random.normal(size=96) * 0.1]
        sums.append(sums[0] + 1e-6)
        std, truth = float(random.uniform(1.0, 2.0)), int(random.integers(2))
        output = mechanism(sums[truth], std, trial)
        explains = [reachable(output, one, std) for one in sums]
        sure = explains[0] != explains[1]
        guess = int(explains[1]) if sure else int(random.integers(2))
        right.append(guess == truth)
    return right


def test_two_candidates_1e_6_apart_are_told_apart_under_the_old_mechanism_only() -> None:
    assert sum(verdicts(old_release)) >= 190
    today = verdicts(lambda total, std, seed: released([total], std / 5.0, 5.0, seed))
    assert stats.binomtest(sum(today), 200).pvalue > 1e-3


@settings(deadline=None, max_examples=40)
@given(
    noise_multiplier=st.floats(0.06, 1e4),
    clip=st.floats(1e-6, 1e6),
    values=st.lists(st.floats(-3, 3), min_size=2, max_size=6),
)
def test_outputs_are_integers_of_a_public_grid(noise_multiplier, clip, values) -> None:
    vector = np.array(values) * clip
    grid = Lattice.of(noise_multiplier, clip).grid
    steps = released([vector], noise_multiplier, clip, 3) / grid
    assert np.array_equal(steps, np.rint(steps))
    assert np.log2(grid) == round(np.log2(grid))
    assert 2.0**GRID_BITS <= noise_multiplier * clip / grid < 2.0 ** (GRID_BITS + 1)


@pytest.mark.parametrize("noise_multiplier", [0.7, 1.0, 1.3, 37.9])
def test_residues_of_outputs_are_uniform(noise_multiplier: float) -> None:
    vector = np.full(100_000, 0.123456789 / 400)
    steps = (
        released([vector], noise_multiplier, 1.0, 9) / Lattice.of(noise_multiplier, 1.0).grid
    ).astype(np.int64)
    for modulus in (2, 64, 997, 4096):
        counts = np.bincount(steps % modulus, minlength=modulus)
        assert stats.chisquare(counts).pvalue > 1e-4
    # Of the multiples of what the old normals lay on, too.
    coarse = (steps >> 10) % 64
    assert stats.chisquare(np.bincount(coarse, minlength=64)).pvalue > 1e-4


EXTREME = st.floats(allow_nan=True, allow_infinity=True, width=64)


@settings(deadline=None, max_examples=200)
@given(
    values=st.lists(st.one_of(EXTREME, st.floats(-1, 1)), min_size=1, max_size=8),
    noise_multiplier=st.floats(0.05, 1e3),
    clip=st.floats(1e-3, 1e3),
)
def test_no_vector_on_the_grid_is_longer_than_its_clip(values, noise_multiplier, clip) -> None:
    lattice = Lattice.of(noise_multiplier, clip)
    steps = clipped(np.array(values), clip, lattice, len(values))
    square = sum(int(one) ** 2 for one in steps)
    assert square * Fraction(lattice.grid) ** 2 <= Fraction(clip) ** 2


def test_rounding_is_towards_zero_and_moves_nothing_by_a_step() -> None:
    lattice = Lattice.of(1.0, 1.0)
    vector = np.array([0.3, -0.3, lattice.grid * 0.99, -lattice.grid * 0.99])
    steps = clipped(vector, 1.0, lattice, 4)
    assert (np.abs(steps * lattice.grid) <= np.abs(vector)).all()
    assert (np.abs(steps - vector / lattice.grid) < 1).all()
    assert steps[2] == steps[3] == 0


def test_sums_are_exact_in_any_order() -> None:
    random = np.random.default_rng(1)
    vectors = [random.normal(size=5) * 10.0 ** random.integers(-9, 3) for _ in range(300)]
    lattice = Lattice.of(0.9, 2.0)
    exact = [sum(Fraction(int(clipped(v, 2.0, lattice, 5)[i])) for v in vectors) for i in range(5)]
    for order in (vectors, vectors[::-1], sorted(vectors, key=lambda v: v[0])):
        noisy = released(order, 0.9, 2.0, 4) / lattice.grid
        noise = released([np.zeros(5)], 0.9, 2.0, 4) / lattice.grid
        assert [Fraction(a) - Fraction(b) for a, b in zip(noisy, noise, strict=True)] == exact


def test_a_sum_that_could_overflow_is_refused() -> None:
    lattice = Lattice.of(0.05, 1.0)
    lattice.check_patients(10**7)
    with pytest.raises(UsageError, match="64-bit"):
        lattice.check_patients(10**9)
    with pytest.raises(UsageError, match="out of range"):
        Lattice.of(1.0, 1e-300)


def survivors(mechanism) -> tuple[int, float]:
    """Of forty patients, who cannot have been left out, by the reachable outputs of format 1.

    The attacker knows all vectors and asks of each patient: could this output have come from the
    sum without him or her? Returns the number of patients whom that proves to have taken part, and
    the part of coordinates that the true sum explains.
    """
    random = np.random.default_rng(11)
    vectors = random.normal(size=(40, 90)) * 0.05
    std, total = 1.37, vectors.sum(axis=0)
    output = mechanism(total, std, 1)
    proven = sum(not reachable(output, total - vector, std) for vector in vectors)
    explained = np.mean([reachable(output[k], total[k], std) for k in range(90)])
    return proven, float(explained)


def test_leaving_any_of_forty_patients_out_explains_an_output_as_well_as_the_truth() -> None:
    proven, explained = survivors(old_release)
    assert proven == 40
    assert explained == 1.0
    # Today the truth is no better explained than the absence of anybody: the attack is at chance.
    _, explained = survivors(lambda total, std, seed: released([total], std / 5.0, 5.0, seed))
    share = 2.0 ** np.floor(np.log2(1.37)) / 1.37
    assert abs(explained - share) < 0.2


def test_every_hypothesis_about_a_patient_reaches_today_s_outputs() -> None:
    random = np.random.default_rng(12)
    lattice = Lattice.of(0.4, 5.0)
    vectors = random.normal(size=(40, 90)) * 0.05
    steps = [clipped(v, 5.0, lattice, 90) for v in vectors]
    output = np.rint(released(vectors, 0.4, 5.0, 2) / lattice.grid).astype(np.int64)
    for own in (np.zeros(90, dtype=np.int64), *steps):
        # What would have to be the noise: an integer of a likely size, whoever is left out.
        noise = output - (sum(steps) - own)
        assert np.abs(noise).max() < 6 * lattice.sigma
        assert stats.chisquare(np.bincount(noise & 7, minlength=8)).pvalue > 1e-5
