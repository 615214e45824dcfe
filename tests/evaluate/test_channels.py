"""Correlation between channels: exact where they are alike, opposite, or constant."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.evaluate.channels import correlations, figures


def test_like_and_opposite_channels() -> None:
    one = np.random.default_rng(0).uniform(-0.9, 0.9, (4, 5, 6)).astype(np.float32)
    found = correlations(np.stack([one, 0.5 * one, -one, np.zeros_like(one)]))
    assert np.allclose(found[0], [1.0, 1.0, -1.0, 0.0], atol=1e-6)
    assert np.allclose(np.diag(found), 1.0)


def test_what_is_black_in_all_channels_does_not_count() -> None:
    random = np.random.default_rng(0)
    image = np.full((2, 10, 10, 10), -1.0, np.float32)
    image[:, :5] = random.uniform(-0.9, 0.9, (2, 5, 10, 10))
    assert abs(correlations(image)[0, 1]) < 0.1
    assert np.array_equal(correlations(np.full((2, 3, 3, 3), -1.0, np.float32)), np.eye(2))


def test_the_largest_difference_of_means_is_told() -> None:
    fake = [np.array([[1, 0.1], [0.1, 1]]), np.array([[1, 0.3], [0.3, 1]])]
    true = [np.array([[1, r], [r, 1]]) for r in (0.4, 0.6, 0.4, 0.6)]
    found = figures(fake, true, np.array([True, False, True, False]), ("a", "b"))
    figure = found["channel_correlation"]
    assert figure["value"] == pytest.approx(0.3)
    assert figure["real"] == pytest.approx(0.2)
    assert figure["pairs"] == {"a b": {"synthetic": 0.2, "real": 0.5}}
