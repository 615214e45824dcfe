"""Bases, displacements, registration, histograms, spectra, moments, shrinkage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medvae.atlas import intensity, moments, public, scales, spectrum
from medvae.atlas.basis import Basis, pack, unpack
from medvae.atlas.displacement import invert, prior_std, warp
from medvae.atlas.features import channels, label_map, shape_channels, signed_distance
from medvae.atlas.registration import MovingImage, channel_weights, registrar
from medvae.atlas.render import resize_labels, sharpen
from medvae.atlas.shrinkage import power_law, shells, shrink, unshrink, weights
from medvae.atlas.template import Layout
from tests.atlas.cohorts import SIZE, anatomy, jacobian


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_basis_is_isometric_and_never_lengthens(x, y, z, count):
    basis = Basis((x, y, z), count)
    rng = np.random.default_rng(0)
    coefficients = rng.standard_normal((2, len(basis)))
    field = basis.synthesise(coefficients)
    assert np.allclose(basis.analyse(field), coefficients)
    assert np.allclose((field**2).mean(axis=(1, 2, 3)), (coefficients**2).sum(axis=1))
    noise = rng.standard_normal((x, y, z))
    assert np.linalg.norm(basis.analyse(noise)) <= np.sqrt((noise**2).mean()) * (1 + 1e-9)
    points = np.array([[0, 0, 0], [x - 1, y - 1, z - 1]])
    assert np.allclose(basis.at(points) @ coefficients.T, field[:, *points.T].T)


@given(st.integers(1, 12))
def test_packed_symmetric_matrices_keep_their_norm(size):
    matrix = np.random.default_rng(size).standard_normal((size, size))
    matrix = matrix + matrix.T
    assert np.linalg.norm(pack(matrix)) == pytest.approx(np.linalg.norm(matrix))
    assert np.allclose(unpack(pack(matrix)), matrix)


def _field(seed: int, scale: float = 1.0) -> np.ndarray:
    basis = registrar(SIZE).basis
    rng = np.random.default_rng(seed)
    return basis.synthesise(scale * prior_std(basis) * rng.standard_normal((3, len(basis))))


def test_fields_invert():
    field = _field(0, 0.6)
    assert (jacobian(field) > 0).all()
    composed = invert(field) + warp(field, invert(field))
    inner = (slice(None), *(slice(5, -5),) * 3)
    assert np.abs(composed[inner]).mean() < 0.05


def test_jacobian_of_a_stretch_and_a_fold():
    points = np.stack(np.meshgrid(*(np.arange(float(n)) for n in SIZE), indexing="ij"))
    assert np.allclose(jacobian(0.1 * points), 1.1**3)
    assert (jacobian(np.stack([-2 * points[0], 0 * points[1], 0 * points[2]])) < 0).all()


def test_linear_warp_agrees_with_splines_of_order_one():
    image = anatomy(np.random.default_rng(0)).image
    field = _field(1)
    points = np.stack(np.meshgrid(*(np.arange(float(n)) for n in SIZE), indexing="ij")) + field
    expected = ndimage.map_coordinates(image.astype(float), points, order=1, mode="nearest")
    assert np.allclose(warp(image, field), expected, atol=1e-6)


@pytest.mark.parametrize("labels", [0, 2])
def test_registration_finds_a_known_field(labels):
    tool = registrar(SIZE)
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), labels)
    true = np.zeros((3, len(tool.basis)))
    true[:, 0] = [1.5, -1.0, 0.5]
    true[1, 1] = 0.5
    fixed = warp(template, tool.basis.synthesise(true))
    zero = np.zeros_like(true)
    coefficients = tool.register(
        fixed, MovingImage(template), channel_weights(labels), start=zero, centre=zero
    )
    error = warp(template, tool.basis.synthesise(coefficients)) - fixed
    before = template - fixed
    assert (error**2).mean() < 0.15 * (before**2).mean()


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_shape_channels_restore_the_labels(labels):
    mask = anatomy(np.random.default_rng(3)).mask % (labels + 1)
    mask[2:5, 2:5, 2:5] = labels
    shapes = shape_channels(mask, labels)
    assert shapes.shape == (labels, *SIZE)
    assert (label_map(shapes) == mask).mean() > 0.999
    assert not label_map(shape_channels(np.zeros(SIZE, np.uint8), labels)).any()
    assert (signed_distance(np.ones(SIZE, bool)) < 0).all()


@given(st.floats(-1.5, 1.5), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_quantile_curves_are_monotone_and_imposed_exactly(size, which):
    coefficients = np.zeros(intensity.COUNT)
    coefficients[which] = size
    curve = intensity.curve(coefficients)
    assert (np.diff(curve) >= 0).all()
    assert np.abs(curve).max() <= 1
    image = np.random.default_rng(0).standard_normal(SIZE)
    imposed = intensity.impose(image, curve)
    assert np.allclose(np.quantile(imposed, intensity.RANKS), curve, atol=0.05)
    order = np.argsort(image, axis=None)
    assert (np.diff(imposed.ravel()[order]) >= 0).all()


def test_quantile_curves_differ_little_at_their_ends():
    assert np.allclose(intensity.WAVES.T @ intensity.WAVES, intensity.LEVELS * np.eye(6))
    # Stored atlases hold coefficients of exactly these functions.
    ends = [0.21565, 0.47455, 0.77489, 1.09696, 1.42235, 1.7332]
    assert np.allclose(intensity.WAVES[0], ends, atol=1e-5)
    assert np.allclose(intensity.WAVES[-1], ends * np.tile([1.0, -1.0], 3), atol=1e-5)
    std = np.sqrt(intensity.WAVES**2 @ intensity.VOLUME_STD**2)
    # Every volume is scaled by its own low and high percentiles.
    assert std[[0, -1]].max() < 0.6 * std[8:-8].min()


def test_equal_values_keep_their_order():
    image = np.round(np.random.default_rng(0).standard_normal(SIZE), 1)
    imposed = intensity.impose(image, intensity.BASE).ravel()
    assert (np.diff(imposed[np.argsort(image, axis=None, kind="stable")]) >= 0).all()


def test_quantile_coefficients_restore_the_histogram():
    image = anatomy(np.random.default_rng(0)).image
    restored = intensity.impose(image, intensity.curve(intensity.coefficients(image)))
    assert np.abs(restored - image).mean() < 0.12


def test_texture_has_the_requested_power():
    power = np.linspace(0.4, 0.02, spectrum.SHELLS)
    rng = np.random.default_rng(0)
    textures = [spectrum.texture(SIZE, power, rng) for _ in range(60)]
    mean = np.mean([spectrum.shell_power(texture) for texture in textures], axis=0)
    assert np.allclose(mean, power, rtol=0.25)
    field = rng.standard_normal(SIZE)
    assert spectrum.shell_power(field).sum() == pytest.approx((field**2).mean())


def test_sharpening_adds_the_missing_power_to_edges():
    image = channels(anatomy(np.random.default_rng(0)), 0)[0]
    unchanged = sharpen(image, np.zeros(spectrum.SHELLS))
    assert np.allclose(unchanged, image)
    sharp = sharpen(image, np.full(spectrum.SHELLS, 0.05))
    assert np.corrcoef(sharp.ravel(), image.ravel())[0, 1] > 0.7
    assert (np.diff(sharp, axis=0) ** 2).mean() > (np.diff(image, axis=0) ** 2).mean()


def test_labels_are_resized_to_the_released_size():
    mask = anatomy(np.random.default_rng(0), shift=0.0).mask
    # Blurred: distances of single voxels are discrete, means of them are not.
    shapes = ndimage.gaussian_filter(shape_channels(mask, 2), (0, 1, 1, 1))
    before = label_map(shapes)
    after = label_map(resize_labels(shapes, 1.15))
    assert (after > 0).sum() / (before > 0).sum() == pytest.approx(1.15**3, rel=0.03)
    for label in (1, 2):
        assert (after == label).sum() > 1.2 * (before == label).sum()
    empty = shape_channels(np.zeros(SIZE, np.uint8), 2)
    assert np.array_equal(resize_labels(empty, 1.3), empty)


def test_a_size_is_measured_more_precisely_than_a_power():
    code = scales.ScaleCode(registrar(SIZE).basis, SIZE)
    # A patient near the public expectation: the statistics must survive without clipping.
    expected = code.decode(np.zeros(code.dimension), 0.0)
    patient = dataclasses.replace(expected, residual=1.3 * expected.residual, size=1.07)
    vector = code.encode(patient)
    assert np.linalg.norm(vector) < scales.CLIP
    decoded = code.decode(vector, 0.0)
    assert decoded.size == pytest.approx(1.07)
    assert np.allclose(decoded.residual, patient.residual)
    for size in (0.8, 1.25, 1.35):
        outlier = code.encode(dataclasses.replace(patient, size=size))
        clipped = outlier / max(1.0, float(np.linalg.norm(outlier)) / scales.CLIP)
        assert code.decode(clipped, 0.0).size == pytest.approx(size, abs=0.03)
    # At epsilon 3 with a hundred patients the noise std is .05: labels are 5% wrong in volume.
    noise_std = 0.05
    rng = np.random.default_rng(0)
    errors = [
        code.decode(vector + noise_std * rng.standard_normal(code.dimension), noise_std).size - 1.07
        for _ in range(400)
    ]
    assert np.std(errors) < 0.05 / 3


def test_shrinkage_keeps_values_without_noise_and_removes_noise_alone():
    frequency = np.linspace(0, 0.2, 200)
    rng = np.random.default_rng(0)
    values = rng.standard_normal(200)
    assert np.allclose(shrink(values, np.zeros(200), frequency), values)
    noise = np.full(200, 1.0)
    kept = np.mean(
        [(shrink(rng.standard_normal(200), noise, frequency) ** 2).mean() for _ in range(20)]
    )
    assert kept < 0.15
    assert sum(s.stop - s.start for s in shells(frequency)) == 200


def test_weights_are_the_best_for_a_power_law():
    power = power_law(np.linspace(0, 0.3, 300), 0.03, 3.4)
    best = weights(power)
    assert (best**2 * power).sum() == pytest.approx(power.sum())
    flat = np.ones(300)
    tilted = power**-0.5 * np.sqrt(power.sum() / 300)
    for other in (flat, tilted):
        assert (best**-2.0).sum() < (other**-2.0).sum()


def test_layout_round_trip_and_norm():
    image = channels(anatomy(np.random.default_rng(0)), 0)[0]
    layout = Layout.plan(SIZE, 0.0, 0.12)
    vector = layout.encode(image)
    assert vector.shape == (layout.dimension,)
    assert 0.3 < np.linalg.norm(vector) < 2.0
    decoded = layout.decode(vector, 0.0)
    assert ((decoded - image) ** 2).mean() < 0.2 * (image**2).mean()
    assert Layout.plan(SIZE, 0.2, 0.12).dimension < layout.dimension


def test_ellipsoids_of_moments_overlap_the_labels():
    mask = anatomy(np.random.default_rng(2)).mask
    vector = moments.label_moments(mask, 2)
    ellipsoids = moments.render(vector, SIZE)
    for label in (1, 2):
        both = ((ellipsoids == label) & (mask == label)).sum()
        assert 2 * both / ((ellipsoids == label).sum() + (mask == label).sum()) > 0.8
    assert not moments.label_moments(np.zeros(SIZE, np.uint8), 2).any()
    assert np.allclose(moments.shrink(vector, 0.0), vector)
    assert set(np.unique(moments.render(np.full(18, 5.0), SIZE))) <= {0, 1, 2}


def test_a_public_template_is_used_only_if_it_correlates_with_the_mean():
    rng = np.random.default_rng(0)
    head = ndimage.gaussian_filter(rng.standard_normal((48, 56, 52)), 2.0)
    window = (slice(12, 32), slice(20, 44), slice(18, 38))
    crop = head[window] - head[window].mean()
    mean = ndimage.gaussian_filter(crop / crop.std(), 1.5)
    initial = public.initial_template(mean, public.PublicTemplate(head), registrar(SIZE))
    assert initial is not None
    assert initial.labels is None
    assert 0.3 < initial.contrast < 1.5
    assert np.corrcoef(initial.image.ravel(), crop.ravel())[0, 1] > 0.9
    other = ndimage.gaussian_filter(rng.standard_normal(SIZE), 1.0)
    assert (
        public.initial_template(other / other.std(), public.PublicTemplate(head), registrar(SIZE))
        is None
    )
    assert public.initial_template(mean, public.PublicTemplate(head[:10]), registrar(SIZE)) is None


def test_unshrink_inverts_shrink() -> None:
    """Exactly where the signal exceeds the noise; values that were shrunk to 0 stay 0."""
    rng = np.random.default_rng(0)
    frequency = np.linspace(0, 0.1, 40)
    noise = rng.uniform(0.05, 0.1, 40)
    released = rng.normal(size=(3, 40))
    shrunk = shrink(released, noise, frequency)
    assert not np.allclose(shrunk, released, rtol=1e-4)
    assert np.allclose(unshrink(shrunk, noise, frequency), released, rtol=1e-6)
    weak = shrink(released * 1e-3, noise, frequency)
    assert not weak.any()
    assert not unshrink(weak, noise, frequency).any()
