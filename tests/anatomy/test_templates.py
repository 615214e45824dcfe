"""Mean maps of patients: cosines, borders of the released size, what one patient shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medvae.anatomy.registration import signed_distances
from medvae.anatomy.scan import Scan, scan_of
from medvae.anatomy.templates import MapMechanism, Templates, box_of
from medvae.anatomy.templates.maps import as_large
from medvae.anatomy.templates.measure import centred, similarity
from medvae.anatomy.templates.waves import Waves
from medvae.config import DataConfig
from medvae.volume import Volume
from tests.anatomy.cohorts import scan

BOX = box_of((24, 26, 16), (6.0, 6.0, 9.0))
PUBLIC = Templates.public(BOX, 4)


def random_waves(seed: int = 0) -> tuple[Waves, np.ndarray]:
    waves = Waves(BOX, 3.5, (2.0, 3.0))
    return waves, np.random.default_rng(seed).standard_normal((2, len(waves)))


def test_coefficients_are_those_that_a_map_was_made_of_and_their_squares_its_mean_square():
    waves, wanted = random_waves()
    maps = waves.synthesise(wanted)
    found = waves.analyse(maps)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_allclose((maps**2).mean(axis=(1, 2, 3)), (wanted**2).sum(axis=1), rtol=1e-4)


def test_slow_waves_come_first_and_weigh_least():
    waves, _ = random_waves()
    assert (np.diff(waves.bands) >= 0).all()
    assert (np.diff(waves.weights) >= 0).all()
    assert waves.weights[0] == 1.0
    slower = Waves(BOX, 2.0, (1.0, 3.0))
    own = np.random.default_rng(1).standard_normal((1, len(slower)))
    again = waves.synthesise(waves.extended(own))
    np.testing.assert_allclose(again, slower.synthesise(own), atol=1e-4)


def test_without_noise_all_is_kept_and_noise_alone_is_nothing():
    waves, wanted = random_waves()
    np.testing.assert_allclose(waves.above_noise(wanted * waves.weights, 0.0), wanted)
    noise = np.random.default_rng(2).standard_normal((20, len(waves)))
    kept = waves.above_noise(noise, 1.0)
    assert (kept**2).sum() < 0.05 * (noise**2).sum()


def test_a_thin_label_that_a_mean_has_lost_is_as_large_as_released_again():
    axes = np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij")) - 19.5
    radius = np.sqrt((axes**2).sum(axis=0))
    labels = np.where(radius < 10.0, 2, np.where(radius < 13.0, 1, 0)).astype(np.uint8)
    truth = signed_distances(labels, (1, 2), (1.0, 1.0, 1.0), 20.0)
    flat = np.stack([gaussian_filter(one, 4.0) for one in truth])
    assert (flat[0] < 0).mean() < 0.2 * (labels == 1).mean()
    parts = np.array([(labels == 1).mean(), (labels == 2).mean()])
    found = as_large(flat, parts)
    drawn = np.where(found.min(axis=0) < 0, found.argmin(axis=0) + 1, 0)
    for label, part in enumerate(parts, 1):
        assert (drawn == label).mean() == pytest.approx(part, rel=0.1)
        same = ((drawn == label) & (labels == label)).sum()
        assert 2 * same / ((drawn == label).sum() + (labels == label).sum()) > 0.8


def test_a_patient_is_placed_by_the_middle_of_the_mask_wherever_the_scanner_had_it():
    one = scan(50)
    moved = one.affine.copy()
    moved[:3, 3] += (31.0, -12.0, 7.0)
    other = Scan(one.image, moved, one.mask)
    np.testing.assert_allclose(centred(one, PUBLIC), centred(other, PUBLIC), atol=1e-3)


def test_a_similarity_has_the_rotation_and_the_middle_scale_and_keeps_the_point():
    c, s = np.cos(0.4), np.sin(0.4)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([1.1, 1.2, 1.9])
    affine[:3, 3] = (3.0, -2.0, 5.0)
    fixed = np.array([20.0, 10.0, -30.0])
    found = similarity(affine, fixed)
    np.testing.assert_allclose(found[:3, :3], 1.2 * rotation, atol=1e-12)
    np.testing.assert_allclose(
        found[:3, :3] @ fixed + found[:3, 3], affine[:3, :3] @ fixed + affine[:3, 3]
    )


def test_a_scan_is_centred_on_what_is_cropped_to_as_near_as_it_reaches():
    voxels = np.zeros((40, 30, 20), np.float32)
    mask = np.zeros(voxels.shape, np.uint8)
    mask[30:34, 10:14, 2:6] = 1
    voxels[mask == 1] = 1.0
    volume = Volume(voxels, np.diag([2.0, 2.0, 3.0, 1.0]), "mri", mask)
    facts = {"size": (8, 8, 16), "spacing": (2.0, 2.0, 3.0), "label_scheme": {"1": "organ"}}
    data = DataConfig.model_validate(facts | {"labels": 1})
    np.testing.assert_allclose(scan_of(volume, data).centre, np.array([39.0, 29.0, 28.5]))
    cropped = DataConfig.model_validate(facts | {"labels": 1, "crop": "labels"})
    # Along z the window of 16 voxels stops at the first of 20.
    np.testing.assert_allclose(scan_of(volume, cropped).centre, np.array([63.0, 23.0, 22.5]))


def test_noise_that_makes_a_label_larger_than_the_box_does_not_stop_the_maps():
    huge = replace(PUBLIC, volumes=np.array([900.0, -900.0, 3.0, 0.0]))
    assert np.isfinite(huge.template.channels).all()


def broken(kind: str) -> Scan:
    own = scan(50)
    match kind:
        case "no mask":
            return Scan(own.image, own.affine, None)
        case "empty mask":
            return Scan(own.image, own.affine, np.zeros_like(own.mask))
        case "not finite":
            return Scan(np.full_like(own.image, np.nan), own.affine, np.zeros_like(own.mask))
        case "far away":
            affine = own.affine.copy()
            affine[:3, :3] *= 1e-6
            return Scan(own.image, affine, own.mask)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["no mask", "empty mask", "not finite", "far away"])
def test_whatever_is_wrong_with_a_patient_no_exception_leaves_and_numbers_are_finite(kind):
    for mechanism in (MapMechanism.coarse(PUBLIC), MapMechanism.fine(PUBLIC)):
        found = mechanism.vectors(broken(kind))
        if kind != "far away":
            assert found is None
        for vector in (found or {}).values():
            assert np.isfinite(vector).all()


def test_a_lack_of_memory_is_not_taken_for_a_patient_who_shows_nothing():
    def starved(_scan: Scan, _known: Templates) -> np.ndarray:
        raise MemoryError

    with pytest.raises(MemoryError):
        replace(MapMechanism.coarse(PUBLIC), show=starved).vectors(scan(50))


@pytest.mark.parametrize("make", [MapMechanism.coarse, MapMechanism.fine])
def test_without_noise_the_maps_are_the_patients_own(make):
    mechanism = make(PUBLIC)
    own = mechanism.vectors(scan(51))
    assert own is not None
    found = PUBLIC
    for part in mechanism.parts:
        assert own[part.name].shape == (part.dimension,)
        found = part.estimate(own[part.name], 0.0, found)
    again = mechanism.show(scan(51), PUBLIC)
    waves = mechanism.parts[0].waves
    np.testing.assert_allclose(
        found.distances[:, : len(waves)], waves.analyse(again[:4]), atol=1e-9
    )
    np.testing.assert_allclose(np.exp(found.volumes), (again[:4] < 0).mean(axis=(1, 2, 3)))


def test_maps_are_stored_and_read_back():
    mechanism = MapMechanism.coarse(PUBLIC)
    own = mechanism.vectors(scan(51))
    found = mechanism.parts[0].estimate(own["distances"], 0.0, PUBLIC)
    again = PUBLIC.read(found.to_arrays())
    np.testing.assert_array_equal(again.distances, found.distances)
    np.testing.assert_array_equal(again.square, found.square)
