"""Likeness to public people: what is broken in a release lowers the figure that is about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medvae.config import DataConfig
from medvae.evaluate.likeness import LOOKED, Likeness, fit, look, shape
from medvae.volume import Volume
from tests.anatomy.cohorts import NAMES, SPACING, picture
from tests.anatomy.conftest import person

GRID = DataConfig(
    modality="mri",
    size=(24, 24, 16),
    spacing=(6.0, 6.0, 9.0),
    label_scheme=NAMES,
    labels=len(NAMES),
    classes=0,
)


def people(seeds: range) -> list[Volume]:
    found = []
    for seed in seeds:
        labels, affine = person(seed, SPACING)
        found.append(Volume(picture(labels, seed), affine, "mri", labels.astype(np.uint8)))
    return found


def kept(volumes: list[Volume]) -> Likeness:
    found = Likeness(GRID)
    for volume in volumes:
        found.add(volume)
    return found


@pytest.fixture(scope="module")
def public() -> Likeness:
    return kept(people(range(20, 26)))


@pytest.fixture(scope="module")
def good() -> list[Volume]:
    return people(range(60, 66))


def _noise(volume: Volume) -> Volume:
    random = np.random.default_rng(0)
    return replace(volume, voxels=random.normal(500, 200, volume.shape).astype(np.int16))


def _blurred(volume: Volume) -> Volume:
    smooth = ndimage.gaussian_filter(volume.voxels.astype(np.float32), 2.0)
    return replace(volume, voxels=smooth.astype(np.int16))


def test_other_people_are_as_good_as_public_ones(good: list[Volume], public: Likeness) -> None:
    made = kept(good)
    told, dice, apart = fit(made), shape(made, public), look(made, public)
    assert told is not None
    assert told > 0.95
    assert dice == pytest.approx(shape(public), abs=0.05)
    assert apart is not None
    assert apart < 2


def test_label_maps_of_other_volumes_do_not_fit(good: list[Volume]) -> None:
    turned = [replace(one, mask=good[i - 1].mask) for i, one in enumerate(good)]
    found = fit(kept(turned))
    assert found is not None
    assert found < 0.6


def test_noise_fits_no_label_map_and_looks_like_nobody(
    good: list[Volume], public: Likeness
) -> None:
    noise = kept([_noise(one) for one in good])
    found, apart, before = fit(noise), look(noise, public), look(kept(good), public)
    assert found is not None
    assert found < 0.7
    assert apart is not None
    assert before is not None
    assert apart > 3 * before


def test_blurred_images_look_less_like_people(good: list[Volume], public: Likeness) -> None:
    blurred, sharp = look(kept([_blurred(one) for one in good]), public), look(kept(good), public)
    assert blurred is not None
    assert sharp is not None
    assert blurred > 2 * sharp


def test_scattered_labels_have_nobodys_shape(good: list[Volume], public: Likeness) -> None:
    random = np.random.default_rng(1)
    scattered = []
    for one in good:
        assert one.mask is not None
        flat = one.mask.ravel().copy()
        random.shuffle(flat)
        scattered.append(replace(one, mask=flat.reshape(one.mask.shape)))
    whole, broken = shape(kept(good), public), shape(kept(scattered), public)
    assert whole is not None
    assert broken is not None
    assert broken < 0.5 * whole


def test_place_does_not_count_in_the_shape(good: list[Volume], public: Likeness) -> None:
    moved = []
    for one in good:
        assert one.mask is not None
        moved.append(replace(one, mask=np.roll(one.mask, 2, axis=1)))
    # Rounding the middles to voxels is all that may differ.
    assert shape(kept(moved), public) == pytest.approx(shape(kept(good), public), abs=0.03)


def test_dice_of_boxes_by_hand() -> None:
    grid = DataConfig(
        modality="mri", size=(8, 8, 8), label_scheme={"5": "box"}, labels=1, classes=0
    )

    def box(length: int, start: int) -> Volume:
        mask = np.zeros((8, 8, 8), np.uint8)
        mask[start : start + length, 2:4, 2:4] = 5
        return Volume(mask.astype(np.int16), np.eye(4), "mri", mask)

    long, short = Likeness(grid, look=False), Likeness(grid, look=False)
    long.add(box(4, 0))
    short.add(box(2, 5))
    assert shape(long, short) == pytest.approx(2 * 2 / (2 + 4))
    assert shape(long) is None, "one person has no pair"
    assert fit(long) is None
    assert look(long, short) is None


def test_only_the_first_volumes_are_kept(good: list[Volume]) -> None:
    made = kept(good * 3)
    assert (made.count, len(made.masks), len(made.features)) == (18, LOOKED, LOOKED)
