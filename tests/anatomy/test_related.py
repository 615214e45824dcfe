"""Reading a noisy mean by how figures go together."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.anatomy.parts.base import toward_zero
from medvae.anatomy.related import Related

COUNT = 24


def together(share: float = 0.9) -> Related:
    """Two kinds; in each all figures share `share` of their variance."""
    kinds = np.repeat([0, 1], [COUNT, COUNT // 2])
    covariance = np.where(kinds[:, None] == kinds, share, 0.0)
    np.fill_diagonal(covariance, 1.0)
    return Related(covariance, kinds)


def test_without_noise_nothing_is_changed():
    related = together()
    values = np.random.default_rng(0).standard_normal(len(related.kinds))
    np.testing.assert_array_equal(related.estimate(values, 0.0), values)
    assert not related.unknown(np.zeros(len(values))).any()


def test_it_is_the_posterior_mean_of_a_normal_population():
    """Of a population of the expected variance, by the dense formula."""
    related, sigma = together(), 0.4
    random = np.random.default_rng(1)
    root = np.linalg.cholesky(related.covariance)
    released = root @ random.standard_normal(len(root)) + sigma * random.standard_normal(len(root))
    gain = related.covariance @ np.linalg.inv(related.covariance + sigma**2 * np.eye(len(released)))
    found, unknown = related.estimate(released, sigma), related.unknown(np.full(len(root), sigma))
    np.testing.assert_allclose(unknown, related.covariance - gain @ related.covariance, atol=1e-9)
    nothing = related.unknown(np.full(len(root), np.inf))
    np.testing.assert_allclose(nothing, related.covariance, atol=1e-9)
    # The ratio of variances that is estimated moves it by little.
    assert np.linalg.norm(found - gain @ released) < 0.1 * np.linalg.norm(gain @ released)


@pytest.mark.parametrize(("sigma", "part"), [(0.3, 0.8), (0.7, 0.6), (1.5, 0.6)])
def test_figures_that_go_together_are_known_better(sigma, part):
    related, random = together(), np.random.default_rng(2)
    root = np.linalg.cholesky(related.covariance)
    apart, joint = [], []
    for _ in range(200):
        truth = root @ random.standard_normal(len(root))
        released = truth + sigma * random.standard_normal(len(root))
        apart.append(((toward_zero(released, sigma) - truth) ** 2).mean())
        joint.append(((related.estimate(released, sigma) - truth) ** 2).mean())
    assert np.mean(joint) < part * np.mean(apart)
    # Nor worse than public people alone, whose error is 1.
    assert np.mean(joint) < 1.0


def test_a_cohort_as_public_people_say_stays_one():
    """Of a truth of zero the estimate keeps little of the noise, whatever its strength."""
    related, random = together(), np.random.default_rng(3)
    for sigma in (0.1, 1.0, 10.0):
        noise = sigma * random.standard_normal((200, len(related.kinds)))
        kept = np.array([related.estimate(one, sigma) for one in noise])
        assert (kept**2).mean() < 0.03 * sigma**2


def test_kinds_are_read_apart():
    related, random = together(), np.random.default_rng(4)
    released = random.standard_normal(len(related.kinds))
    changed = np.where(related.kinds == 1, 9.0, released)
    before = related.estimate(released, 0.7)
    after = related.estimate(changed, 0.7)
    own = related.kinds == 0
    np.testing.assert_array_equal(before[own], after[own])
    assert (before[~own] != after[~own]).all()


def test_a_population_far_from_public_people_is_believed():
    related = together()
    truth = np.where(related.kinds == 0, 5.0, 0.0)
    noise = 0.5 * np.random.default_rng(5).standard_normal(len(truth))
    found = related.estimate(truth + noise, 0.5)
    np.testing.assert_allclose(found[related.kinds == 0], 5.0, atol=0.8)


def test_a_part_of_the_figures_is_read_as_the_whole_would_be():
    related = together()
    released = np.random.default_rng(6).standard_normal(len(related.kinds))
    whole = related.estimate(released, 0.7)
    for own in (slice(COUNT), slice(COUNT, None)):
        np.testing.assert_allclose(related.part(own).estimate(released[own], 0.7), whole[own])
