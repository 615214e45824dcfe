"""Outlines as a release sees them: what moves a border is told, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.atlas import refinement
from medvae.atlas.features import channels, label_map, shape_channels
from medvae.atlas.outline import Modes, Outlines
from medvae.atlas.refinement import Refinement
from medvae.atlas.template import REFINE_REACH, Layout
from tests.atlas.cohorts import SIZE, anatomy

UNION, BETWEEN = 0.3, 0.1


def _template(labels: int = 2) -> np.ndarray:
    mask = anatomy(np.random.default_rng(0), shift=0.0).mask
    return shape_channels(np.minimum(mask, labels), labels)


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_released_outline_moves_the_labels_onto_the_patient(seed: int, noise: float) -> None:
    template, mask = _template(), anatomy(np.random.default_rng(seed)).mask
    outlines = Outlines.of(template, UNION, BETWEEN, noise)
    vector = outlines.encode(shape_channels(mask, 2) - template)
    vector += noise * np.random.default_rng(seed).standard_normal(len(vector))
    found = label_map(template + np.stack(outlines.decode(vector, noise)))
    before = label_map(template)
    for label in (1, 2):
        wrong = 1.0 - _overlap(found == label, mask == label)
        assert wrong < 0.75 * (1.0 - _overlap(before == label, mask == label))


def test_what_moves_no_border_is_not_told() -> None:
    template = _template()
    outlines = Outlines.of(template, UNION, BETWEEN, 0.01)
    away = np.where(np.abs(template) > 0.7, 0.3, 0.0)
    near = np.where(np.abs(template) < 0.2, 0.3, 0.0)
    assert away.any()
    assert near.any()
    told, heard = np.linalg.norm(outlines.encode(away)), np.linalg.norm(outlines.encode(near))
    assert told < 0.02 * heard


def test_a_border_between_labels_is_moved_without_the_outline_of_all() -> None:
    template = _template()
    outlines = Outlines.of(template, UNION, BETWEEN, 0.0)
    moved = np.zeros_like(template)
    moved[1] = 0.15
    union, between = outlines.decode(outlines.encode(moved), 0.0)
    assert not union.any()
    before, after = label_map(template), label_map(template + np.stack([union, between]))
    assert ((after > 0) == (before > 0)).all()
    # Label 1 is where its own channel is lower.
    assert (after == 1).sum() < 0.95 * (before == 1).sum()


def test_three_labels_that_touch_have_a_border_each() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[4:16, 3:9, 4:16], mask[4:16, 9:15, 4:16], mask[4:16, 15:21, 4:16] = 1, 2, 3
    other = np.zeros(SIZE, np.uint8)
    other[4:16, 3:10, 4:16], other[4:16, 10:15, 4:16], other[4:16, 15:22, 4:16] = 1, 2, 3
    template, wanted = shape_channels(mask, 3), shape_channels(other, 3)
    outlines = Outlines.of(template, UNION, BETWEEN, 0.0)
    found = label_map(template + np.stack(outlines.decode(outlines.encode(wanted - template), 0.0)))
    for label in (1, 2, 3):
        after = _overlap(found == label, other == label)
        assert after > 0.95
        assert after > _overlap(mask == label, other == label)


def test_more_noise_leaves_fewer_modes_and_noise_alone_moves_little() -> None:
    template, counts = _template(), []
    for noise in (0.0, 0.01, 0.05, 0.2):
        outlines = Outlines.of(template, UNION, BETWEEN, noise)
        counts.append(outlines.dimension)
        vector = noise * np.random.default_rng(0).standard_normal(outlines.dimension)
        moved = label_map(template + np.stack(outlines.decode(vector, noise)))
        assert _overlap(moved > 0, label_map(template) > 0) > 0.9
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 2


@given(st.integers(0, 50), st.floats(0.02, 0.5))
@settings(max_examples=20, deadline=None)
def test_modes_see_orthonormally_through_the_band(seed: int, noise: float) -> None:
    nearness = np.exp(-0.5 * (_template()[0] / 0.2) ** 2)
    modes = Modes.near(nearness, 1.0, noise)
    values = np.random.default_rng(seed).standard_normal(SIZE)
    seen = values[tuple(modes.points.T)] @ modes.functions
    weighed = np.sqrt((nearness * values**2).sum() / nearness.sum())
    assert np.linalg.norm(seen) <= 1.02 * weighed
    fields = modes.basis.synthesise(modes.fields.T)
    again = fields[:, *modes.points.T] @ modes.functions
    assert np.allclose(again, np.eye(len(modes)), atol=1e-6)


@pytest.mark.parametrize("shapes", [np.ones((2, *SIZE)), -np.ones((1, *SIZE))])
def test_a_template_without_a_border_says_nothing_of_it(shapes: np.ndarray) -> None:
    outlines = Outlines.of(shapes, UNION, BETWEEN, 0.01)
    vector = outlines.encode(np.ones_like(shapes))
    assert np.isfinite(vector).all()
    assert not np.stack(outlines.decode(vector, 0.01))[0].any()


def test_a_typical_patient_fits_the_clip() -> None:
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), 2)
    plan = Refinement.plan(template, 0.01, REFINE_REACH, sharp=False)
    norms = [
        np.linalg.norm(
            plan.encode(channels(anatomy(np.random.default_rng(s), shift=0.3), 2) - template)
        )
        for s in range(8)
    ]
    assert 0.2 * refinement.clip(2) < np.median(norms) < refinement.clip(2)


def test_image_alone_is_the_layout_of_images() -> None:
    rng = np.random.default_rng(0)
    template, difference = rng.standard_normal((2, 1, *SIZE))
    plan = Refinement.plan(template, 0.02, REFINE_REACH, sharp=False)
    assert plan.dimension == plan.image.dimension
    alone = Layout.plan(SIZE, 0.02, REFINE_REACH)
    assert np.allclose(plan.encode(difference), alone.encode(difference[0]))
