"""Boundary modes: they describe movements of boundaries, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.atlas import boundary_modes, refinement
from medvae.atlas.boundary_modes import BoundaryModes, LabelBoundaries
from medvae.atlas.features import channels, label_map, shape_channels, signed_distance
from medvae.atlas.refinement import Refinement
from medvae.atlas.template import REFINE_REACH, Layout
from tests.atlas.cohorts import SIZE, anatomy

UNION, BETWEEN = 0.3, 0.1


def _template(labels: int = 2) -> np.ndarray:
    mask = anatomy(np.random.default_rng(0), shift=0.0).mask
    return shape_channels(np.minimum(mask, labels), labels)


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_decoded_modes_move_the_labels_onto_the_patient(seed: int, noise: float) -> None:
    template, mask = _template(), anatomy(np.random.default_rng(seed)).mask
    boundaries = LabelBoundaries.of(template, UNION, BETWEEN, noise)
    vector = boundaries.encode(shape_channels(mask, 2) - template)
    vector += noise * np.random.default_rng(seed).standard_normal(len(vector))
    after = label_map(template + np.stack(boundaries.decode(vector, noise)))
    before = label_map(template)
    for label in (1, 2):
        error = 1.0 - _dice(after == label, mask == label)
        assert error < 0.75 * (1.0 - _dice(before == label, mask == label))


def test_differences_away_from_a_boundary_are_not_encoded() -> None:
    template = _template()
    boundaries = LabelBoundaries.of(template, UNION, BETWEEN, 0.01)
    away = np.where(np.abs(template) > 0.7, 0.3, 0.0)
    near = np.where(np.abs(template) < 0.2, 0.3, 0.0)
    assert away.any()
    assert near.any()
    away_norm, near_norm = (np.linalg.norm(boundaries.encode(part)) for part in (away, near))
    assert away_norm < 0.02 * near_norm


def test_a_boundary_between_labels_moves_without_that_of_the_union() -> None:
    template = _template()
    boundaries = LabelBoundaries.of(template, UNION, BETWEEN, 0.0)
    moved = np.zeros_like(template)
    moved[1] = 0.15
    union, between = boundaries.decode(boundaries.encode(moved), 0.0)
    assert not union.any()
    before, after = label_map(template), label_map(template + np.stack([union, between]))
    assert ((after > 0) == (before > 0)).all()
    # Label 1 is where its channel is lowest.
    assert (after == 1).sum() < 0.95 * (before == 1).sum()


def test_three_labels_that_touch_have_a_boundary_each() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[4:16, 3:9, 4:16], mask[4:16, 9:15, 4:16], mask[4:16, 15:21, 4:16] = 1, 2, 3
    other = np.zeros(SIZE, np.uint8)
    other[4:16, 3:10, 4:16], other[4:16, 10:15, 4:16], other[4:16, 15:22, 4:16] = 1, 2, 3
    template, target = shape_channels(mask, 3), shape_channels(other, 3)
    boundaries = LabelBoundaries.of(template, UNION, BETWEEN, 0.0)
    differences = boundaries.decode(boundaries.encode(target - template), 0.0)
    after = label_map(template + np.stack(differences))
    for label in (1, 2, 3):
        overlap = _dice(after == label, other == label)
        assert overlap > 0.95
        assert overlap > _dice(mask == label, other == label)


def test_more_noise_leaves_fewer_modes_and_moves_labels_little() -> None:
    template, counts = _template(), []
    for noise in (0.0, 0.01, 0.05, 0.2):
        boundaries = LabelBoundaries.of(template, UNION, BETWEEN, noise)
        counts.append(boundaries.dimension)
        vector = noise * np.random.default_rng(0).standard_normal(boundaries.dimension)
        moved = label_map(template + np.stack(boundaries.decode(vector, noise)))
        assert _dice(moved > 0, label_map(template) > 0) > 0.9
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 2


@given(st.integers(0, 50), st.floats(0.02, 0.5))
@settings(max_examples=20, deadline=None)
def test_modes_are_orthonormal_in_the_band(seed: int, noise: float) -> None:
    proximity = np.exp(-0.5 * (_template()[0] / 0.2) ** 2)
    modes = BoundaryModes.near(proximity, 1.0, noise)
    values = np.random.default_rng(seed).standard_normal(SIZE)
    products = values[tuple(modes.points.T)] @ modes.functions
    rms = np.sqrt((proximity * values**2).sum() / proximity.sum())
    assert np.linalg.norm(products) <= 1.02 * rms
    fields = modes.basis.synthesise(modes.fields.T)
    gram = fields[:, *modes.points.T] @ modes.functions
    assert np.allclose(gram, np.eye(len(modes)), atol=1e-6)


@pytest.mark.parametrize("shapes", [np.ones((2, *SIZE)), -np.ones((1, *SIZE))])
def test_a_template_without_a_boundary_has_no_difference_there(shapes: np.ndarray) -> None:
    boundaries = LabelBoundaries.of(shapes, UNION, BETWEEN, 0.01)
    vector = boundaries.encode(np.ones_like(shapes))
    assert np.isfinite(vector).all()
    assert not np.stack(boundaries.decode(vector, 0.01))[0].any()


@pytest.mark.parametrize("sharp", [True, False])
def test_a_typical_patient_fits_the_clip(sharp: bool) -> None:
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), 2)
    code = Refinement.plan(template, 0.01, REFINE_REACH, sharp=sharp)
    norms = [
        np.linalg.norm(
            code.encode(channels(anatomy(np.random.default_rng(s), shift=0.3), 2) - template)
        )
        for s in range(8)
    ]
    clip = refinement.clip(2, sharp=sharp)
    assert 0.2 * clip < np.median(norms) < clip


def test_an_image_without_labels_is_encoded_by_its_layout() -> None:
    rng = np.random.default_rng(0)
    template, difference = rng.standard_normal((2, 1, *SIZE))
    code = Refinement.plan(template, 0.02, REFINE_REACH, sharp=False)
    assert code.dimension == code.image.dimension
    layout = Layout.plan(SIZE, 0.02, REFINE_REACH)
    assert np.allclose(code.encode(difference), layout.encode(difference[0]))


def test_a_subset_of_the_points_of_a_flat_boundary_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A slab across the grid: all rows of its band are equally long.
    shape = (24, 24, 24)
    distance = np.abs(np.arange(24) - 11.5)[:, None, None] * np.ones(shape)
    proximity = np.exp(-0.5 * (distance / 2.0) ** 2)
    count = int((proximity > boundary_modes.MIN_WEIGHT).sum())
    monkeypatch.setattr(boundary_modes, "MAX_POINTS", count // 4)
    modes = BoundaryModes.near(proximity, 1.0, 0.0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, 24) for _ in range(3)), indexing="ij")
    field = 0.1 * (np.cos(3 * y) + z * y + 0.5 * x)
    decoded = modes.decode(modes.encode(field), 0.0)
    error = np.sqrt((proximity * (decoded - field) ** 2).sum() / (proximity * field**2).sum())
    assert error < 0.1


def test_a_label_that_the_template_lacks_is_recovered() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[4:16, 3:20, 4:16] = 1
    other = mask.copy()
    other[4:16, 12:20, 4:16] = 2
    template = shape_channels(mask, 2)
    boundaries = LabelBoundaries.of(template, UNION, BETWEEN, 0.0)
    differences = boundaries.decode(boundaries.encode(shape_channels(other, 2) - template), 0.0)
    after = label_map(template + np.stack(differences))
    assert _dice(after == 2, other == 2) > 0.9


def test_a_boundary_between_labels_ignores_the_rest_of_the_union() -> None:
    template = _template()
    boundaries = LabelBoundaries.of(template, UNION, BETWEEN, 0.01)
    away = np.zeros_like(template)
    away[1] = np.where((template[0] < 0) & (np.abs(template[1]) > 0.5), 0.3, 0.0)
    near = np.zeros_like(template)
    near[1] = np.where((template[0] < 0) & (np.abs(template[1]) < 0.2), 0.3, 0.0)
    assert away.any()
    assert np.linalg.norm(boundaries.encode(away)) < 0.1 * np.linalg.norm(boundaries.encode(near))


def test_shrinkage_lowers_the_error() -> None:
    proximity = np.exp(-0.5 * (_template()[0] / 0.2) ** 2)
    noise, errors = 0.3, {"shrunk": 0.0, "raw": 0.0}
    modes = BoundaryModes.near(proximity, 1.0, noise)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        vector = noise * rng.standard_normal(len(modes))
        vector[0] += 1.0
        truth = modes.decode(np.eye(len(modes))[0], 0.0)
        for name, noise_std in (("shrunk", noise), ("raw", 0.0)):
            decoded = modes.decode(vector, noise_std)
            errors[name] += float((proximity * (decoded - truth) ** 2).sum())
    assert errors["shrunk"] < 0.8 * errors["raw"]


@pytest.mark.parametrize("sharp", [True, False])
def test_a_refinement_without_noise_restores_the_patient(sharp: bool) -> None:
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), 2)
    patient = channels(anatomy(np.random.default_rng(1)), 2)
    code = Refinement.plan(template, 0.0, REFINE_REACH, sharp=sharp)
    vector = code.encode(patient - template)
    assert len(vector) == code.dimension
    refined = template + code.decode(vector, 0.0)
    basis = code.image.basis
    smooth = basis.synthesise(basis.analyse(patient[0] - template[0]))
    assert np.allclose(refined[0] - template[0], smooth)
    assert _dice(label_map(refined[1:]) > 0, label_map(patient[1:]) > 0) > 0.9


def test_after_a_sharp_template_high_frequencies_have_a_smaller_weight() -> None:
    template = np.zeros((1, *SIZE))
    sharp, blurred = (Refinement.plan(template, 0.02, REFINE_REACH, sharp=s) for s in (True, False))
    # A blurred mean is wrong at lower frequencies than these.
    fine = sharp.image.basis.frequency > 0.1
    assert sharp.image.weights[fine].mean() / sharp.image.weights[0] < (
        blurred.image.weights[-1] / blurred.image.weights[0]
    )


def test_a_mask_that_fills_the_grid_has_no_boundary() -> None:
    assert (signed_distance(np.ones(SIZE, bool)) == -1.0).all()
