"""Boundary profile: measured, imposed on an image, and nothing else changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from medvae.atlas import boundary_profile, distance_transform
from medvae.atlas.boundary_profile import DIMENSION, FADING, HARMONICS, KNOTS, WAVES, WEIGHTS
from medvae.atlas.features import standardise
from tests.atlas.cohorts import anatomy


@pytest.fixture
def patient():
    return anatomy(np.random.default_rng(3))


def _profile(image, mask):
    """[DIMENSION] without weights."""
    return boundary_profile.weighted_profile(image, mask) / WEIGHTS


def _impose(image, mask, target):
    """The image with a profile [DIMENSION] that has no noise."""
    profile = np.stack([target, np.ones(DIMENSION)])
    return boundary_profile.impose(image, boundary_profile.boundary_of(mask), profile)


def test_an_image_gets_the_profile_of_another(patient):
    other = anatomy(np.random.default_rng(4))

    # The correction has faded out at the last knot.
    def within(profile):
        return (profile.reshape(HARMONICS, -1) @ WAVES.T)[:, :-1]

    blurred = ndimage.gaussian_filter(patient.image, 2.0)
    target = _profile(other.image, other.mask)
    before = np.linalg.norm(within(_profile(blurred, patient.mask) - target))
    imposed = _impose(blurred, patient.mask, target)
    # Imposing changes the image's std, in units of which profiles are measured.
    after = np.linalg.norm(within(_profile(imposed, patient.mask) - target))
    assert after < 0.3 * before


def test_a_blurred_boundary_becomes_sharp_again(patient):
    inside = patient.mask > 0
    image = ndimage.gaussian_filter(np.where(inside, 0.6, -0.4), 0.5)
    inner = inside & ~ndimage.binary_erosion(inside)
    outer = ndimage.binary_dilation(inside) & ~inside

    def step(image):
        values = standardise(image)
        return values[inner].mean() - values[outer].mean()

    blurred = ndimage.gaussian_filter(image, 2.5)
    sharpened = _impose(blurred, patient.mask, _profile(image, patient.mask))
    assert step(blurred) < 0.6 * step(image)
    # Not entirely: the fit has a ridge, and the correction raises the image's std.
    assert abs(step(sharpened) - step(image)) < 0.3 * step(image)


def test_its_own_profile_changes_nothing(patient):
    imposed = _impose(patient.image, patient.mask, _profile(patient.image, patient.mask))
    assert np.allclose(imposed, patient.image, atol=1e-6)


def test_voxels_far_from_the_boundary_keep_their_values(patient):
    imposed = _impose(patient.image, patient.mask, np.zeros(DIMENSION))
    inside = patient.mask > 0
    far = ndimage.distance_transform_edt(~inside) > KNOTS[-1] + 1
    assert far.any()
    assert np.allclose(imposed[far], patient.image[far], atol=1e-6)
    assert not np.allclose(imposed[~far], patient.image[~far], atol=0.05)


def test_a_correction_ends_without_an_edge():
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[6:34, 6:34, 6:34] = 1
    image = np.random.default_rng(0).standard_normal(mask.shape)
    change = _impose(image, mask, np.ones(DIMENSION)) - image
    depth = ndimage.distance_transform_edt(mask)
    rim = (depth > KNOTS[-1] - 0.1) & (depth < KNOTS[-1] + 0.6)
    assert np.abs(change).max() > 1.0
    assert np.abs(change[rim]).max() < 0.1 * np.abs(change).max()


@pytest.mark.parametrize("label", [0, 1])
def test_without_a_boundary_the_profile_is_zero_and_the_image_unchanged(label):
    image = np.random.default_rng(0).standard_normal((8, 9, 10))
    mask = np.full(image.shape, label, np.uint8)
    assert not boundary_profile.weighted_profile(image, mask).any()
    assert np.array_equal(_impose(image, mask, np.ones(DIMENSION)), image)


def test_an_image_without_contrast_is_unchanged(patient):
    flat = np.full(patient.image.shape, 0.25)
    assert np.array_equal(_impose(flat, patient.mask, np.ones(DIMENSION)), flat)


def test_noise_lowers_the_posterior_weight(patient):
    profile = boundary_profile.weighted_profile(patient.image, patient.mask)
    boundary = boundary_profile.boundary_of(patient.mask)
    blurred = ndimage.gaussian_filter(patient.image, 2.0)
    changes = []
    for noise_std in (0.0, 0.1, 1.0, 1e6):
        estimate = boundary_profile.estimate(profile, noise_std)
        imposed = boundary_profile.impose(blurred, boundary, estimate)
        changes.append(np.linalg.norm(imposed - blurred))
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 1.0
    assert changes[-1] < 1e-6


def test_a_typical_profile_has_about_the_clips_norm(patient):
    # These thick labels of strong contrast may exceed it somewhat.
    norm = np.linalg.norm(boundary_profile.weighted_profile(patient.image, patient.mask))
    assert 0.2 < norm / boundary_profile.CLIP < 2.0


@pytest.mark.parametrize("shape", [(20, 24, 20), (40, 9, 33), (3, 2, 50)])
def test_distances_near_the_boundary_are_exact(shape):
    rng = np.random.default_rng(5)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    for quantile in (0.3, 0.9, 0.999):
        inside = field > np.quantile(field, quantile)
        box, cropped, squares = distance_transform.near_boundary(inside)
        outer, inner = (ndimage.distance_transform_edt(side) for side in (~inside, inside))
        expected = np.rint((outer + inner) ** 2)
        assert np.array_equal(cropped, inside[box])
        assert np.array_equal(squares, np.minimum(expected, distance_transform.FAR)[box])
        outside = np.ones(shape, bool)
        outside[box] = False
        assert not outside.any() or outer[outside].min() > distance_transform.MAX_DISTANCE


def test_sums_over_distances_equal_least_squares_on_all_functions(patient):
    boundary = boundary_profile.boundary_of(patient.mask)
    harmonics = np.concatenate([np.ones((1, len(boundary.voxels))), boundary.harmonics])
    waves = boundary_profile.AT_DISTANCE[boundary.level]
    functions = (harmonics.T[:, :, None] * waves[:, None, :]).reshape(len(waves), -1)
    values = np.random.default_rng(0).standard_normal(len(waves))
    gram = functions.T @ functions + boundary_profile.RIDGE * np.eye(DIMENSION)
    coefficients = boundary.coefficients(values)
    assert np.allclose(coefficients, np.linalg.solve(gram, functions.T @ values))
    faded = functions @ coefficients * FADING[boundary.level]
    assert np.allclose(boundary.correction(coefficients), faded)


def test_samples_have_the_cohorts_profile(fitted):
    atlas, _ = fitted
    without = dataclasses.replace(atlas, profile=np.zeros((2, 0)))

    def error(source):
        profiles = [_profile(image, mask) for image, mask in source.pairs(6, 1)]
        return np.linalg.norm(np.mean(profiles, axis=0) - atlas.profile[0])

    assert error(atlas) < 0.7 * error(without)


def test_harmonics_are_orthonormal_over_a_sphere():
    # Gauss-Legendre along z, evenly spaced around it: exact for the degree 4 of products.
    z, weight = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * np.pi / 8
    ring = np.sqrt(1 - z**2)[:, None]
    x, y = (ring * wave(angle) for wave in (np.cos, np.sin))
    points = [axis.ravel() for axis in (x, y, np.broadcast_to(z[:, None], x.shape))]
    functions = np.stack([np.ones(x.size), *boundary_profile._spherical_harmonics(*points)])
    weights = np.repeat(weight / 2 / 16, 16)
    assert np.allclose((functions * weights) @ functions.T, np.eye(HARMONICS))


def test_opposite_sides_may_have_the_same_tissue(patient):
    """Dark on both sides along x, bright on both along y: needs harmonics of degree 2."""
    x, y, _ = np.gradient(ndimage.gaussian_filter((patient.mask > 0).astype(float), 2.0))
    image = np.where(np.abs(x) > np.abs(y), -0.5, 0.5)
    image = np.where(patient.mask > 0, 0.0, image)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=image.shape), 1.0)
    outer = ndimage.binary_dilation(patient.mask > 0, iterations=2) & ~(patient.mask > 0)
    along_x, along_y = outer & (np.abs(x) > np.abs(y)), outer & (np.abs(x) <= np.abs(y))

    def contrast(profile):
        imposed = standardise(_impose(texture, patient.mask, profile.ravel()))
        return imposed[along_y].mean() - imposed[along_x].mean()

    profile = _profile(image, patient.mask).reshape(HARMONICS, -1)
    linear = np.where(np.arange(HARMONICS)[:, None] < 4, profile, 0.0)
    assert abs(contrast(linear)) < 0.3
    assert contrast(profile) > 1.0


def test_the_memory_order_of_an_image_does_not_matter(patient):
    target = _profile(anatomy(np.random.default_rng(4)).image, patient.mask)
    c_order = _impose(patient.image, patient.mask, target)
    f_order = _impose(np.asfortranarray(patient.image), patient.mask, target)
    assert np.array_equal(c_order, f_order)
    assert not np.array_equal(c_order, patient.image)
