"""The profile across the labels' border: measured, imposed, and nothing else touched."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from medvae.atlas import nearness, profile
from medvae.atlas.features import standardise
from tests.atlas.cohorts import anatomy


@pytest.fixture
def patient():
    return anatomy(np.random.default_rng(3))


def _told(image, mask):
    return profile.describe(image, mask) / profile.WEIGHTS


def _sure(wanted):
    return np.stack([wanted, np.ones(profile.DIMENSION)])


def test_an_image_is_given_the_profile_that_another_has(patient):
    other = anatomy(np.random.default_rng(4))

    # The last knot is where what is imposed has ended.
    def within(told):
        return (told.reshape(profile.FACES, -1) @ profile.WAVES.T)[:, :-1]

    blurred = ndimage.gaussian_filter(patient.image, 2.0)
    wanted = _told(other.image, other.mask)
    before = np.linalg.norm(within(_told(blurred, patient.mask) - wanted))
    made = profile.impose(blurred, patient.mask, _sure(wanted))
    # What is imposed changes the image's deviation, and with it what a profile is told in.
    after = np.linalg.norm(within(_told(made, patient.mask) - wanted))
    assert after < 0.3 * before


def test_a_blurred_border_becomes_as_sharp_as_it_was(patient):
    inside = patient.mask > 0
    image = ndimage.gaussian_filter(np.where(inside, 0.6, -0.4), 0.5)
    inner = inside & ~ndimage.binary_erosion(inside)
    outer = ndimage.binary_dilation(inside) & ~inside

    def step(image):
        values = standardise(image)
        return values[inner].mean() - values[outer].mean()

    blurred = ndimage.gaussian_filter(image, 2.5)
    mended = profile.impose(blurred, patient.mask, _sure(_told(image, patient.mask)))
    assert step(blurred) < 0.6 * step(image)
    # Not all of it: the doubt of the fit, and a deviation that the mending itself raises.
    assert abs(step(mended) - step(image)) < 0.3 * step(image)


def test_its_own_profile_changes_nothing(patient):
    same = profile.impose(patient.image, patient.mask, _sure(_told(patient.image, patient.mask)))
    assert np.allclose(same, patient.image, atol=1e-6)


def test_voxels_far_from_the_border_keep_their_values(patient):
    wanted = np.zeros(profile.DIMENSION)
    made = profile.impose(patient.image, patient.mask, _sure(wanted))
    inside = patient.mask > 0
    far = ndimage.distance_transform_edt(~inside) > profile.KNOTS[-1] + 1
    assert far.any()
    assert np.allclose(made[far], patient.image[far], atol=1e-6)
    assert not np.allclose(made[~far], patient.image[~far], atol=0.05)


def test_what_is_imposed_ends_without_an_edge():
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[6:34, 6:34, 6:34] = 1
    image = np.random.default_rng(0).standard_normal(mask.shape)
    made = profile.impose(image, mask, _sure(np.ones(profile.DIMENSION)))
    change = made - image
    depth = ndimage.distance_transform_edt(mask)
    last = (depth > profile.KNOTS[-1] - 0.1) & (depth < profile.KNOTS[-1] + 0.6)
    assert np.abs(change).max() > 1.0
    assert np.abs(change[last]).max() < 0.1 * np.abs(change).max()


@pytest.mark.parametrize("label", [0, 1])
def test_without_a_border_there_is_nothing_to_tell_or_impose(label):
    image = np.random.default_rng(0).standard_normal((8, 9, 10))
    mask = np.full(image.shape, label, np.uint8)
    assert not profile.describe(image, mask).any()
    assert np.array_equal(profile.impose(image, mask, _sure(np.ones(profile.DIMENSION))), image)


def test_an_image_without_contrast_stays_as_it_is(patient):
    flat = np.full(patient.image.shape, 0.25)
    assert np.array_equal(
        profile.impose(flat, patient.mask, _sure(np.ones(profile.DIMENSION))), flat
    )


def test_noise_takes_belief_away(patient):
    released = profile.describe(patient.image, patient.mask)
    blurred = ndimage.gaussian_filter(patient.image, 2.0)
    changes = []
    for noise in (0.0, 0.1, 1.0, 1e6):
        made = profile.impose(blurred, patient.mask, profile.believe(released, noise))
        changes.append(np.linalg.norm(made - blurred))
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 1.0
    assert changes[-1] < 1e-6


def test_a_typical_profile_has_about_the_clips_norm(patient):
    # Thick labels of stark contrast, as here, go somewhat beyond it.
    assert 0.2 < np.linalg.norm(profile.describe(patient.image, patient.mask)) / profile.CLIP < 2.0


@pytest.mark.parametrize("shape", [(20, 24, 20), (40, 9, 33), (3, 2, 50)])
def test_distances_near_the_border_are_exact(shape):
    rng = np.random.default_rng(5)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    for part in (0.3, 0.9, 0.999):
        inside = field > np.quantile(field, part)
        box, within, squares = nearness.around(inside)
        outer, inner = (ndimage.distance_transform_edt(side) for side in (~inside, inside))
        wanted = np.rint((outer + inner) ** 2)
        assert np.array_equal(within, inside[box])
        assert np.array_equal(squares, np.minimum(wanted, nearness.FAR)[box])
        outside = np.ones(shape, bool)
        outside[box] = False
        assert not outside.any() or outer[outside].min() > nearness.REACH


def test_the_border_is_told_as_by_all_of_its_functions(patient):
    border = profile.border_of(patient.mask)
    faces = np.concatenate([np.ones((1, len(border.where))), border.facing])
    waves = profile.AT_DISTANCE[border.level]
    functions = (faces.T[:, :, None] * waves[:, None, :]).reshape(len(waves), -1)
    values = np.random.default_rng(0).standard_normal(len(waves))
    gram = functions.T @ functions + profile.RIDGE * np.eye(profile.DIMENSION)
    told = border.coefficients(values)
    assert np.allclose(told, np.linalg.solve(gram, functions.T @ values))
    assert np.allclose(border.fading(told), functions @ told * profile.FADING[border.level])


def test_samples_have_the_cohorts_profile(fitted):
    atlas, _ = fitted
    without = dataclasses.replace(atlas, profile=np.zeros((2, 0)))

    def missed(source):
        told = [_told(image, mask) for image, mask in source.sample(6, 1)]
        return np.linalg.norm(np.mean(told, axis=0) - atlas.profile[0])

    assert missed(atlas) < 0.7 * missed(without)


def test_directions_are_orthonormal_over_a_sphere():
    # Gauss-Legendre along z, evenly around it: exact for the degree 4 of products.
    z, weight = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * np.pi / 8
    ring = np.sqrt(1 - z**2)[:, None]
    x, y = (ring * wave(angle) for wave in (np.cos, np.sin))
    places = [part.ravel() for part in (x, y, np.broadcast_to(z[:, None], x.shape))]
    found = np.stack([np.ones(x.size), *profile._harmonics(*places)])
    weights = np.repeat(weight / 2 / 16, 16)
    assert np.allclose((found * weights) @ found.T, np.eye(profile.FACES))


def test_opposite_sides_may_be_of_other_tissues(patient):
    """Dark on both sides along x, bright on both sides along y: no single axis tells that."""
    x, y, _ = np.gradient(ndimage.gaussian_filter((patient.mask > 0).astype(float), 2.0))
    image = np.where(np.abs(x) > np.abs(y), -0.5, 0.5)
    image = np.where(patient.mask > 0, 0.0, image)
    flat = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=image.shape), 1.0)
    outer = ndimage.binary_dilation(patient.mask > 0, iterations=2) & ~(patient.mask > 0)
    across, along = outer & (np.abs(x) > np.abs(y)), outer & (np.abs(x) <= np.abs(y))

    def contrast(wanted):
        made = standardise(profile.impose(flat, patient.mask, _sure(wanted.ravel())))
        return made[along].mean() - made[across].mean()

    told = _told(image, patient.mask).reshape(profile.FACES, -1)
    linear = np.where(np.arange(profile.FACES)[:, None] < 4, told, 0.0)
    assert abs(contrast(linear)) < 0.3
    assert contrast(told) > 1.0


def test_the_order_of_an_images_axes_in_memory_does_not_matter(patient):
    wanted = _sure(_told(anatomy(np.random.default_rng(4)).image, patient.mask))
    plain = profile.impose(patient.image, patient.mask, wanted)
    turned = profile.impose(np.asfortranarray(patient.image), patient.mask, wanted)
    assert np.array_equal(plain, turned)
    assert not np.array_equal(plain, patient.image)
