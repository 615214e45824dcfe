"""Mean maps of patients: cosines, borders of the released size, what one patient shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medvae.anatomy.registration import signed_distances
from medvae.anatomy.scan import Scan, scan_of
from medvae.anatomy.templates import (
    COARSE_MAPS,
    FINE_MAPS,
    LAYOUT_MAPS,
    PLACES_MAPS,
    SITES_MAPS,
    MapMechanism,
    Templates,
    box_of,
    layout,
    steps,
)
from medvae.anatomy.templates.maps import as_large
from medvae.anatomy.templates.measure import centred, similarity
from medvae.anatomy.templates.waves import LabelWaves, Waves
from medvae.config import DataConfig
from medvae.volume import Volume
from tests.anatomy.cohorts import scan

BOX = box_of((24, 26, 16), (6.0, 6.0, 9.0))
PUBLIC = Templates.public(BOX, 4)
# As large as a body: labels are looked for.
WIDE = Templates.public(box_of((30, 32, 20), (6.0, 6.0, 9.0)), 4)
# All look at the same numbers, with other clips.
LAYOUTS = (LAYOUT_MAPS, PLACES_MAPS, SITES_MAPS)


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
    # Coefficients of slower waves are the first of faster ones.
    slower = Waves(BOX, 2.0, (1.0, 3.0))
    own = np.random.default_rng(1).standard_normal((1, len(slower)))
    more = np.pad(own, ((0, 0), (0, len(waves) - len(slower))))
    np.testing.assert_allclose(waves.synthesise(more), slower.synthesise(own), atol=1e-4)


def test_without_noise_all_is_kept_and_noise_alone_is_nothing():
    waves, wanted = random_waves()
    for own in wanted:
        np.testing.assert_allclose(
            LabelWaves((waves,)).above_noise(own * waves.weights, 0.0, 1.0)[0], own
        )
    noise = np.random.default_rng(2).standard_normal((20, len(waves)))
    kept = np.concatenate([LabelWaves((waves,)).above_noise(own, 1.0, 1.0) for own in noise])
    assert (kept**2).sum() < 0.05 * (noise**2).sum()


@pytest.mark.parametrize("sigma", [0.003, 0.03, 0.3, 3.0])
def test_the_error_is_below_that_of_the_noise_and_of_knowing_nothing(sigma):
    labels = LabelWaves(tuple(Waves(BOX, 3.0, (2.0, 3.0)) for _ in range(4)))
    random, reach = np.random.default_rng(3), 1.0
    deviation = np.sqrt(np.concatenate([waves.likely(reach) for waves in labels.own]))
    error = nothing = noisy = 0.0
    for _ in range(20):
        # Patients of whom one label has four times the power of another.
        wanted = random.standard_normal(len(labels)) * deviation
        wanted *= np.repeat([0.5, 1.0, 1.0, 0.5], len(labels) // 4)
        noise = sigma * random.standard_normal(len(labels))
        kept = labels.weighted(labels.above_noise(wanted + noise, sigma, reach))
        error += float(((kept - wanted) ** 2).sum())
        nothing, noisy = nothing + float((wanted**2).sum()), noisy + float((noise**2).sum())
    assert error < 1.02 * min(nothing, noisy)


def test_a_label_that_noise_hides_is_seen_by_the_power_that_all_labels_have():
    labels = LabelWaves(tuple(Waves(BOX, 3.0, (2.0, 3.0)) for _ in range(6)))
    random, sigma, count = np.random.default_rng(4), 0.05, 40
    deviation = np.sqrt(np.concatenate([waves.likely(1.0) for waves in labels.own]))
    together = alone = 0.0
    for _ in range(count):
        wanted = random.standard_normal(len(labels)) * deviation
        released = wanted + sigma * random.standard_normal(len(labels))
        kept = labels.weighted(labels.above_noise(released, sigma, 1.0))
        own = [
            LabelWaves((waves,)).above_noise(row, sigma, 1.0)[0] * waves.weights
            for waves, row in zip(labels.own, np.split(released, 6), strict=True)
        ]
        together += float(((kept - wanted) ** 2).sum())
        alone += float(((np.concatenate(own) - wanted) ** 2).sum())
    assert together < alone


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


def test_a_small_label_that_a_mean_only_hints_at_is_as_large_as_released_again():
    axes = np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij")) - 19.5
    ball = np.sqrt((axes**2).sum(axis=0)) - 14.0
    # Slow waves say where a label of 4 mm in the ball may be, and that nothing of it is left.
    hint = 15.0 + 3.0 * np.sqrt(((axes - 5.0) ** 2).sum(axis=0))
    parts = np.array([(ball < 0).mean(), 268 / 40**3])
    moved = as_large(np.stack([ball, hint]).astype(np.float32), parts)
    drawn = np.where(moved.min(axis=0) < 0, moved.argmin(axis=0) + 1, 0)
    for label, part in enumerate(parts, 1):
        assert (drawn == label).mean() == pytest.approx(part, rel=0.1)
    middle = np.argwhere(drawn == 2).mean(axis=0) - 19.5
    np.testing.assert_allclose(middle, 5.0, atol=1.0)


def test_a_patient_is_placed_by_the_middle_of_the_mask_wherever_the_scanner_had_it():
    one = scan(50)
    moved = one.affine.copy()
    moved[:3, 3] += (31.0, -12.0, 7.0)
    other = Scan(one.image, moved, one.mask)
    here, there = centred(one, PUBLIC), centred(other, PUBLIC)
    for one, other in zip(here.distances, there.distances, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    np.testing.assert_allclose(here.layout, there.layout, atol=1e-9)


def test_a_layout_says_where_an_ellipsoid_is_and_how_large():
    view = box_of((60, 60, 60), (2.0, 2.0, 2.0))
    grid = view.grid(2.0)
    points = grid.centres(torch.device("cpu")).numpy()
    middle, radius = np.array([10.0, -20.0, 5.0]), np.array([20.0, 12.0, 30.0])
    scaled = (points - middle.reshape(3, 1, 1, 1)) / radius.reshape(3, 1, 1, 1)
    inside = np.where((scaled**2).sum(axis=0) < 1.0, -1.0, 1.0).astype(np.float32)
    found = layout.shown(np.stack([inside, np.ones_like(inside)]), grid.affine, view)
    np.testing.assert_allclose(found[0, layout.MIDDLE], middle, atol=0.1)
    np.testing.assert_allclose(np.exp(found[0, layout.RADIUS]), radius, rtol=0.03)
    assert found[0, layout.FILL] == pytest.approx(0.0, abs=0.03)
    assert np.isnan(found[1]).all()
    part = np.exp(layout.parts_of(found, view)[0])
    assert part == pytest.approx((inside < 0).mean(), rel=1e-6)


def test_a_small_label_in_a_large_field_of_view_keeps_its_shape_and_place():
    view = box_of((80, 80, 80), (4.0, 4.0, 4.0))
    public = Templates.public(view, 2)
    axes = np.stack(np.meshgrid(*[np.arange(80.0) * 4.0] * 3, indexing="ij"))
    mask = np.zeros((80, 80, 80), np.uint8)
    large, small = np.array([120.0, 160.0, 160.0]), np.array([250.0, 140.0, 180.0])
    mask[((axes - large.reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 60.0**2] = 1
    # A quarter is missing: no ellipsoid.
    away = axes - small.reshape(3, 1, 1, 1)
    mask[((away**2).sum(axis=0) < 26.0**2) & ~((away[0] > 0) & (away[1] > 0))] = 2
    one = Scan(np.zeros(mask.shape, np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), mask)
    found = public
    for name in steps(public.layout):
        mechanism = MapMechanism.of(name, found)
        for part in mechanism.parts:
            found = part.estimate(mechanism.vectors(one)[part.name], 0.0, found)
    drawn = found.template.channels[1] < 0
    there = found.grid.centres(torch.device("cpu")).numpy()
    middle = axes[:, mask > 0].mean(axis=1)
    truth = there + middle.reshape(3, 1, 1, 1) - small.reshape(3, 1, 1, 1)
    wanted = ((truth**2).sum(axis=0) < 26.0**2) & ~((truth[0] > 0) & (truth[1] > 0))
    assert 2.0 * (drawn & wanted).sum() / (drawn.sum() + wanted.sum()) > 0.85


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
@pytest.mark.parametrize("public", [PUBLIC, WIDE], ids=["crop", "wide"])
def test_whatever_is_wrong_with_a_patient_no_exception_leaves_and_numbers_are_finite(kind, public):
    for name in steps(public.layout):
        mechanism = MapMechanism.of(name, public)
        found = mechanism.vectors(broken(kind))
        if kind != "far away":
            assert found is None
        for vector in (found or {}).values():
            assert np.isfinite(vector).all()


def test_a_lack_of_memory_is_not_taken_for_a_patient_who_shows_nothing():
    def starved(_scan: Scan, _known: Templates) -> np.ndarray:
        raise MemoryError

    with pytest.raises(MemoryError):
        replace(MapMechanism.of(COARSE_MAPS, PUBLIC), show=starved).vectors(scan(50))


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_noise_the_layout_is_the_patients_own(name):
    mechanism = MapMechanism.of(name, WIDE)
    own = mechanism.vectors(scan(51))
    places, greys = mechanism.parts
    assert own[places.name].shape == (places.dimension,)
    found = greys.estimate(own[greys.name], 0.0, places.estimate(own[places.name], 0.0, WIDE))
    shown = mechanism.show(scan(51), WIDE)
    near = np.abs(shown.layout - WIDE.layout.numbers) < 3.0 * WIDE.layout.scales
    assert near.mean() > 0.9
    np.testing.assert_allclose(found.layout.numbers[near], shown.layout[near], atol=1e-9)
    np.testing.assert_allclose((found.image[0, 0], found.square[0, 0]), shown.greys)


@pytest.mark.parametrize("name", [COARSE_MAPS, FINE_MAPS])
@pytest.mark.parametrize("public", [PUBLIC, WIDE], ids=["crop", "wide"])
def test_without_noise_the_maps_are_the_patients_own(name, public):
    mechanism = MapMechanism.of(name, public)
    own = mechanism.vectors(scan(51))
    assert own is not None
    found = public
    for part in mechanism.parts:
        assert own[part.name].shape == (part.dimension,)
        found = part.estimate(own[part.name], 0.0, found)
    shown = mechanism.show(scan(51), public)
    wanted = mechanism.parts[0].waves.analyse(public.layout.in_units(shown.distances))
    np.testing.assert_allclose(found.distances[:, : wanted.shape[1]], wanted, atol=1e-6)
    if name == FINE_MAPS:
        np.testing.assert_allclose(found.volumes, shown.parts, atol=1e-9)


def test_maps_are_stored_and_read_back():
    mechanism = MapMechanism.of(COARSE_MAPS, PUBLIC)
    own = mechanism.vectors(scan(51))
    found = mechanism.parts[0].estimate(own["distances"], 0.0, PUBLIC)
    again = PUBLIC.read(found.to_arrays())
    np.testing.assert_array_equal(again.distances, found.distances)
    np.testing.assert_array_equal(again.square, found.square)
    np.testing.assert_array_equal(again.layout.numbers, found.layout.numbers)
