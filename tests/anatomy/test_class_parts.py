"""What the mechanism of classes releases: shares, and how each class deviates from all patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.anatomy.numbers import LEAST_WITHIN, Numbers
from medvae.anatomy.parts import CLASSES, SHAPE_SHARE, Measured, class_parts, parts_of
from medvae.privacy import joint
from tests.anatomy.test_parts import BANDS, PUBLIC, K, people

COUNT = 3
PARTS = class_parts(PUBLIC, BANDS, COUNT)


def cohort(shift: float = 1.0) -> list[Measured]:
    """Halves, thirds and sixths of classes 0, 1 and 2, who deviate by shift times their class."""
    classes = [0, 0, 0, 1, 1, 2] * 20
    spread = BANDS.spread(PUBLIC.shape_std)
    return [
        Measured(
            PUBLIC.place + PUBLIC.place_std * shift * category,
            PUBLIC.shape + spread * shift * category,
            PUBLIC.figures + PUBLIC.figures_std * shift * category,
            category,
        )
        for category in classes
    ]


def estimated(cohort: list[Measured], sigma: float = 0.0, noise: float = 0.0) -> Numbers:
    """What the parts make of their mean vectors."""
    rng, known = np.random.default_rng(0), PUBLIC
    for part in PARTS:
        mean = np.mean([part.measure(one, PUBLIC) for one in cohort], axis=0)
        known = part.estimate(mean + noise * rng.standard_normal(len(mean)), sigma, known)
    return known


def test_without_noise_shares_and_deviations_are_the_cohorts() -> None:
    known = estimated(cohort())
    np.testing.assert_allclose(known.class_shares, [1 / 2, 1 / 3, 1 / 6])
    for category in range(COUNT):
        own = known.of_class(category)
        np.testing.assert_allclose(own.place, PUBLIC.place + category * PUBLIC.place_std)
        np.testing.assert_allclose(own.figures, PUBLIC.figures + category * PUBLIC.figures_std)
        slow = own.shape[:, :8] / BANDS.spread(PUBLIC.shape_std)[:, :8]
        np.testing.assert_allclose(slow, category)
        np.testing.assert_array_equal(own.shape[:, 8:], 0.0)


def test_drowned_in_noise_every_class_is_as_frequent_and_as_all_patients() -> None:
    known = estimated(cohort(), sigma=30.0, noise=30.0)
    np.testing.assert_allclose(known.class_shares, 1 / COUNT, atol=0.01)
    for category in range(COUNT):
        own = known.of_class(category)
        assert np.abs((own.place - PUBLIC.place) / PUBLIC.place_std).max() < 0.2
        assert np.abs((own.figures - PUBLIC.figures) / PUBLIC.figures_std).max() < 0.2


def test_a_rare_class_keeps_a_share_and_is_shrunk_further_than_a_frequent_one() -> None:
    found = [replace(one, category=min(one.category, 1)) for one in cohort()]
    assert estimated(found).class_shares[2] == pytest.approx(0.01, rel=0.02)
    equal = [replace(one, place=PUBLIC.place + PUBLIC.place_std) for one in cohort()]
    known = estimated(equal, sigma=0.1)
    kept = (known.class_place / PUBLIC.place_std).mean(axis=1)
    assert kept[0] > kept[1] > kept[2] > 0


@pytest.mark.parametrize("category", [None, -1, COUNT])
def test_a_volume_without_a_class_adds_nothing(category) -> None:
    one = replace(people(1)[0], category=category)
    assert not any(part.measure(one, PUBLIC).any() for part in PARTS)


@pytest.mark.parametrize("category", range(COUNT))
def test_a_volume_fills_the_block_of_its_class_alone(category) -> None:
    for part in PARTS:
        blocks = part.measure(replace(people(1)[0], category=category), PUBLIC).reshape(COUNT, -1)
        assert blocks[category].any()
        assert np.count_nonzero(blocks.any(axis=1)) == 1


def test_an_audit_finds_the_parts_of_a_released_vector() -> None:
    joined = joint.joined(PARTS)
    again = joint.joined(parts_of(CLASSES, joined.dimension, PUBLIC, BANDS, SHAPE_SHARE))
    assert [part.name for part in again.parts] == [part.name for part in joined.parts]
    assert again.dimension == joined.dimension


def test_classes_survive_a_model_file_and_a_cohort_without_any_stores_none() -> None:
    known = estimated(cohort())
    again = Numbers.from_arrays(known.to_arrays())
    np.testing.assert_array_equal(again.class_shape, known.class_shape)
    assert not any(name.startswith("class") for name in PUBLIC.to_arrays())
    assert Numbers.from_arrays(PUBLIC.to_arrays()).classes == 0
    lost = {k: v for k, v in known.to_arrays().items() if k != "class_place"}
    with pytest.raises(KeyError, match="class_place"):
        Numbers.from_arrays(lost)


def test_patients_of_a_class_differ_by_what_all_do_less_what_classes_do() -> None:
    known = estimated(cohort(0.5))
    spread = np.array([0.0, 0.5, 1.0])
    between = spread**2 @ known.class_shares - (spread @ known.class_shares) ** 2
    within = known.of_class(1).place_std / PUBLIC.place_std
    np.testing.assert_allclose(within, np.sqrt(1.0 - between))
    # Where classes explain all of it, a part is left.
    far = estimated(cohort(5.0)).of_class(0)
    np.testing.assert_allclose(far.place_std, np.sqrt(LEAST_WITHIN) * PUBLIC.place_std)
    assert known.of_class(None) is known


def test_classes_are_picked_as_often_as_released() -> None:
    known, random = estimated(cohort()), np.random.default_rng(5)
    picked = [known.pick(random) for _ in range(3000)]
    np.testing.assert_allclose(np.bincount(picked) / 3000, known.class_shares, atol=0.03)
    state = random.bit_generator.state
    assert PUBLIC.pick(random) is None
    assert random.bit_generator.state == state
    assert K > 8
