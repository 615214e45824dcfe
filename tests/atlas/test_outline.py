"""Outlines as a release sees them: what moves a border is told, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.atlas import outline, refinement
from medvae.atlas.features import channels, label_map, shape_channels, signed_distance
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


@pytest.mark.parametrize("sharp", [True, False])
def test_a_typical_patient_fits_the_clip(sharp: bool) -> None:
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), 2)
    plan = Refinement.plan(template, 0.01, REFINE_REACH, sharp=sharp)
    norms = [
        np.linalg.norm(
            plan.encode(channels(anatomy(np.random.default_rng(s), shift=0.3), 2) - template)
        )
        for s in range(8)
    ]
    clip = refinement.clip(2, sharp=sharp)
    assert 0.2 * clip < np.median(norms) < clip


def test_image_alone_is_the_layout_of_images() -> None:
    rng = np.random.default_rng(0)
    template, difference = rng.standard_normal((2, 1, *SIZE))
    plan = Refinement.plan(template, 0.02, REFINE_REACH, sharp=False)
    assert plan.dimension == plan.image.dimension
    alone = Layout.plan(SIZE, 0.02, REFINE_REACH)
    assert np.allclose(plan.encode(difference), alone.encode(difference[0]))


def test_points_left_out_of_a_flat_border_leave_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    # A slab across the grid: every row of its band is as long as the others.
    shape = (24, 24, 24)
    away = np.abs(np.arange(24) - 11.5)[:, None, None] * np.ones(shape)
    nearness = np.exp(-0.5 * (away / 2.0) ** 2)
    monkeypatch.setattr(outline, "MOST_POINTS", int((nearness > outline.LEAST_WEIGHT).sum()) // 4)
    modes = Modes.near(nearness, 1.0, 0.0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, 24) for _ in range(3)), indexing="ij")
    field = 0.1 * (np.cos(3 * y) + z * y + 0.5 * x)
    found = modes.decode(modes.encode(field), 0.0)
    wrong = np.sqrt((nearness * (found - field) ** 2).sum() / (nearness * field**2).sum())
    assert wrong < 0.1


def test_a_label_that_the_template_lacks_is_found() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[4:16, 3:20, 4:16] = 1
    other = mask.copy()
    other[4:16, 12:20, 4:16] = 2
    template = shape_channels(mask, 2)
    outlines = Outlines.of(template, UNION, BETWEEN, 0.0)
    wanted = shape_channels(other, 2) - template
    found = label_map(template + np.stack(outlines.decode(outlines.encode(wanted), 0.0)))
    assert _overlap(found == 2, other == 2) > 0.9


def test_a_border_between_labels_hears_nothing_from_the_rest_of_the_union() -> None:
    template = _template()
    outlines = Outlines.of(template, UNION, BETWEEN, 0.01)
    moved = np.zeros_like(template)
    moved[1] = np.where((template[0] < 0) & (np.abs(template[1]) > 0.5), 0.3, 0.0)
    near = np.zeros_like(template)
    near[1] = np.where((template[0] < 0) & (np.abs(template[1]) < 0.2), 0.3, 0.0)
    assert moved.any()
    assert np.linalg.norm(outlines.encode(moved)) < 0.1 * np.linalg.norm(outlines.encode(near))


def test_what_is_decoded_is_nearer_for_being_shrunk() -> None:
    nearness = np.exp(-0.5 * (_template()[0] / 0.2) ** 2)
    noise, wrong = 0.3, {}
    modes = Modes.near(nearness, 1.0, noise)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        vector = noise * rng.standard_normal(len(modes))
        vector[0] += 1.0
        for name, told in (("shrunk", noise), ("believed", 0.0)):
            found = modes.decode(vector, told)
            truth = modes.decode(np.eye(len(modes))[0], 0.0)
            power = (nearness * (found - truth) ** 2).sum()
            wrong[name] = wrong.get(name, 0.0) + float(power)
    assert wrong["shrunk"] < 0.8 * wrong["believed"]


@pytest.mark.parametrize("sharp", [True, False])
def test_a_refinement_comes_back(sharp: bool) -> None:
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), 2)
    patient = channels(anatomy(np.random.default_rng(1)), 2)
    plan = Refinement.plan(template, 0.0, REFINE_REACH, sharp=sharp)
    vector = plan.encode(patient - template)
    assert len(vector) == plan.dimension
    found = template + plan.decode(vector, 0.0)
    told = plan.image.basis.synthesise(plan.image.basis.analyse(patient[0] - template[0]))
    assert np.allclose(found[0] - template[0], told)
    labels, wanted = label_map(found[1:]), label_map(patient[1:])
    assert _overlap(labels > 0, wanted > 0) > 0.9


def test_after_a_sharp_template_low_waves_are_told_with_less_noise() -> None:
    template = np.zeros((1, *SIZE))
    sharp, blurred = (Refinement.plan(template, 0.02, REFINE_REACH, sharp=s) for s in (True, False))
    # A wave of a fifth of a cycle a voxel is not where a blurred mean is wrong.
    fine = sharp.image.basis.frequency > 0.1
    assert sharp.image.weights[fine].mean() / sharp.image.weights[0] < (
        blurred.image.weights[-1] / blurred.image.weights[0]
    )


def test_a_mask_that_fills_the_grid_has_no_border() -> None:
    assert (signed_distance(np.ones(SIZE, bool)) == -1.0).all()
