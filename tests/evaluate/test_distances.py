"""Distances against known answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.evaluate.distances import frechet, in_deviations, manifold, mmd, spread

Features = npt.NDArray[np.float64]


def exact(mean: Features, covariance: Features, n: int = 400) -> Features:
    """Points whose sample mean and covariance are exactly these."""
    random = np.random.default_rng(0)
    raw = random.normal(size=(n, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_of_gaussians_in_closed_form() -> None:
    """Diagonal: |m1 - m2|^2 + sum (s1 - s2)^2."""
    one = exact(np.array([0.0, 1.0, -2.0]), np.diag([1.0, 4.0, 9.0]))
    two = exact(np.array([1.0, 1.0, 0.0]), np.diag([4.0, 4.0, 1.0]))
    assert frechet(one, two) == pytest.approx(1 + 4 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2)


def test_frechet_of_gaussians_that_do_not_commute() -> None:
    """2 x 2: tr (S1 S2)^(1/2) = sqrt(tr S1 S2 + 2 sqrt(det S1 S2))."""
    first = np.array([[2.0, 0.7], [0.7, 1.0]])
    second = np.array([[1.0, -0.4], [-0.4, 3.0]])
    cross = np.sqrt(
        np.trace(first @ second) + 2 * np.sqrt(np.linalg.det(first) * np.linalg.det(second))
    )
    expected = np.trace(first + second) - 2 * cross
    zero = np.zeros(2)
    assert frechet(exact(zero, first), exact(zero, second)) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m", "d"), [(6, 9, 30), (40, 5, 12), (50, 60, 8)])
def test_frechet_is_that_of_the_covariances(n: int, m: int, d: int) -> None:
    """By the root of a matrix that SciPy finds, with fewer points than dimensions and more."""
    random = np.random.default_rng(n)
    one, two = random.normal(size=(n, d)), 2 * random.normal(size=(m, d)) + 1
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.trace(scipy.linalg.sqrtm(root @ second @ root + 1e-12 * np.eye(d))).real
    shift = np.sum((one.mean(axis=0) - two.mean(axis=0)) ** 2)
    expected = shift + np.trace(first) + np.trace(second) - 2 * cross
    assert frechet(one, two) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 60))
def test_frechet_of_a_set_with_itself_is_nothing(seed: int, n: int, d: int) -> None:
    """Also with fewer points than dimensions, where covariances are singular."""
    points = np.random.default_rng(seed).normal(size=(n, d))
    assert frechet(points, points) == pytest.approx(0, abs=1e-5 * d)
    moved = frechet(points, points + 3.0)
    assert moved == pytest.approx(9.0 * d, rel=1e-4)


def test_mmd_is_unbiased() -> None:
    """Mean 0 over draws from one distribution, of either sign; above 0 for two."""
    random = np.random.default_rng(1)
    draws = [mmd(random.normal(size=(20, 5)), random.normal(size=(30, 5))) for _ in range(800)]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws)) < 4 * error
    assert min(draws) < 0 < max(draws)
    apart = [
        mmd(random.normal(size=(20, 5)), random.normal(1.0, 1, size=(30, 5))) for _ in range(50)
    ]
    assert np.mean(apart) > 20 * error


def test_mmd_of_points_against_its_definition() -> None:
    random = np.random.default_rng(2)
    one, two = random.normal(size=(4, 3)), random.normal(size=(5, 3))

    def k(a: Features, b: Features) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = np.mean([k(one[i], one[j]) for i in range(4) for j in range(4) if i != j])
    within += np.mean([k(two[i], two[j]) for i in range(5) for j in range(5) if i != j])
    between = np.mean([k(a, b) for a in one for b in two])
    assert mmd(one, two) == pytest.approx(within - 2 * between)


def test_manifold_of_the_same_of_the_far_and_of_the_collapsed() -> None:
    random = np.random.default_rng(3)
    real = random.normal(size=(200, 4))
    same = manifold(random.normal(size=(200, 4)), real)
    assert min(same.precision, same.recall, same.coverage) > 0.85
    assert same.density == pytest.approx(1, abs=0.15)
    far = manifold(real + 100, real)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    collapsed = manifold(0.01 * random.normal(size=(200, 4)), real)
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.5


def test_manifold_with_a_single_outlier_in_the_real_set() -> None:
    """Density and coverage are there because an outlier's ball inflates precision."""
    random = np.random.default_rng(4)
    real = np.concatenate([random.normal(size=(100, 2)), [[60.0, 0.0]]])
    made = random.normal([30.0, 0.0], 1, size=(100, 2))
    found = manifold(made, real)
    assert found.precision > 0.9
    assert found.density < 0.3
    assert found.coverage < 0.05


def test_spread_of_a_square() -> None:
    corners = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    assert spread(corners) == pytest.approx((4 * 1 + 2 * 2**0.5) / 6)


def test_a_number_that_real_images_share_stays_in_its_own_unit() -> None:
    real = np.column_stack([np.random.default_rng(0).normal(0, 5, 40), np.full(40, -1.0)])
    made = np.column_stack([np.random.default_rng(1).normal(0, 5, 40), np.full(40, -0.98)])
    ours, theirs = in_deviations(made, real)
    assert theirs[:, 0].std() == pytest.approx(1.0)
    np.testing.assert_allclose(ours[:, 1], 0.02)
    assert frechet(ours, theirs) < 0.5
