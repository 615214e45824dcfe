"""Pictures that are made to agree with given labels."""

from __future__ import annotations

import numpy as np

from medvae.anatomy.drawing.given import repainted

SPACING = np.array([1.0, 1.0, 2.0])
GREYS = np.array([0.5, -0.5])


def ball(radius: float, label: int = 1, at: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    axes = [np.arange(n) * s for n, s in zip((40, 40, 20), SPACING, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    middle = np.array([20.0, 20.0, 20.0]) + at
    far = np.sqrt(((points - middle[:, None, None, None]) ** 2).sum(axis=0))
    return np.where(far < radius, label, 0).astype(np.uint8)


def shown(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """An image in which the background is -0.9 and label l is GREYS[l - 1], with some noise."""
    noise = np.random.default_rng(seed).normal(0.0, 0.02, labels.shape)
    return (np.array([-0.9, *GREYS])[labels] + noise).astype(np.float32)


def test_labels_that_agree_leave_the_picture_as_it_is_but_for_its_borders():
    drawn = ball(10.0)
    image = shown(drawn)
    found = repainted(image, drawn, drawn, SPACING, GREYS)
    inside = ball(8.0) > 0
    outside = ball(12.0) == 0
    np.testing.assert_allclose(found[inside], image[inside], atol=1e-5)
    np.testing.assert_allclose(found[outside], image[outside], atol=1e-5)


def test_a_label_that_is_larger_or_elsewhere_looks_the_same_in_its_new_place():
    drawn = ball(10.0)
    moved = (6.0, -4.0, 0.0)
    for radius, at in ((15.0, (0, 0, 0)), (6.0, (0, 0, 0)), (10.0, moved)):
        found = repainted(shown(drawn), drawn, ball(radius, at=at), SPACING, GREYS)
        # Beyond its border, which is as soft as a voxel is wide.
        np.testing.assert_allclose(found[ball(radius - 2.0, at=at) == 1], 0.5, atol=0.1)
        np.testing.assert_allclose(found[ball(radius + 2.0, at=at) == 0], -0.9, atol=0.1)


def test_a_label_that_the_picture_lacks_has_its_mean_grey_value():
    drawn = ball(10.0)
    given = np.where(ball(4.0) > 0, 2, drawn).astype(np.uint8)
    found = repainted(shown(drawn), drawn, given, SPACING, GREYS)
    np.testing.assert_allclose(found[ball(2.5) > 0], -0.5, atol=1e-3)


def test_one_slice_and_labels_everywhere_are_drawn():
    drawn = ball(10.0)[:, :, 10:11]
    found = repainted(shown(drawn), drawn, drawn, SPACING, GREYS)
    np.testing.assert_allclose(found[ball(8.0)[:, :, 10:11] == 1], 0.5, atol=0.1)
    full = np.ones_like(drawn)
    assert np.isfinite(repainted(shown(drawn), drawn, full, SPACING, GREYS)).all()
