"""Every private statistic passes one suite: round trip, public when drowned, what a clip allows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from medvae.anatomy import place
from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers, around
from medvae.anatomy.parts import (
    EARLIER_SHAPE_SHARE,
    SHAPE_SHARE,
    FiguresSpread,
    MeanFigures,
    MeanPlace,
    MeanShape,
    Measured,
    PlaceSpread,
    ShapeSpread,
    mean_parts,
    parts_of,
)
from medvae.anatomy.parts import MEANS as MEANS_MECHANISM
from medvae.anatomy.parts.base import toward_common, toward_zero
from medvae.anatomy.registration import CosineBasis
from medvae.anatomy.related import Related
from medvae.privacy import joint
from tests.anatomy.phantoms import BOX

BASIS = CosineBasis(BOX, 1 / 40)
BANDS = Bands.of_basis(BASIS)
K, F = len(BASIS), 7
PUBLIC = Numbers(
    place=np.linspace(-0.1, 0.1, 12),
    place_std=place.typical(100.0),
    shape=np.zeros((3, K)),
    shape_std=np.full((3, BANDS.count), 0.3),
    figures=np.linspace(-1.0, 1.0, F),
    figures_std=np.full(F, 0.1),
    figures_within=np.full(F, 0.1),
)
PARTS = [
    MeanPlace(PUBLIC),
    MeanShape(PUBLIC, BANDS, K),
    MeanShape(PUBLIC, BANDS, 9),
    MeanFigures(PUBLIC),
    MeanFigures(PUBLIC, Related(np.eye(F), np.zeros(F, int)), stop=3, name="greys"),
    MeanFigures(PUBLIC, start=3),
    PlaceSpread(PUBLIC),
    ShapeSpread(PUBLIC, BANDS),
    FiguresSpread(PUBLIC),
]
MEANS = {MeanPlace: "place", MeanShape: "shape", MeanFigures: "figures"}
SPREADS = {PlaceSpread: "place_std", ShapeSpread: "shape_std", FiguresSpread: "figures_std"}


def people(count: int, seed: int = 0, wide: float = 1.0) -> list[Measured]:
    """A cohort that differs from public people by one standard deviation in everything."""
    rng = np.random.default_rng(seed)
    spread = BANDS.spread(PUBLIC.shape_std)
    return [
        Measured(
            PUBLIC.place + PUBLIC.place_std * (1.0 + wide * rng.standard_normal(12)),
            spread * (1.0 + wide * rng.standard_normal((3, K))),
            PUBLIC.figures + PUBLIC.figures_std * (1.0 + wide * rng.standard_normal(F)),
        )
        for _ in range(count)
    ]


def mean_of(part, cohort, numbers=PUBLIC):
    return np.mean([part.measure(one, numbers) for one in cohort], axis=0)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.name}-{part.dimension}")
class TestEveryPart:
    def test_a_vector_is_as_long_as_it_says_and_a_public_person_is_within_the_clip(self, part):
        vectors = [part.measure(one, PUBLIC) for one in people(5)]
        assert {vector.shape for vector in vectors} == {(part.dimension,)}
        assert 0 < part.share <= 1
        assert part.clip > 0

    def test_a_cohort_that_says_nothing_gives_back_the_library(self, part):
        found = part.estimate(np.zeros(part.dimension), 0.0, PUBLIC)
        for field in fields(Numbers):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(PUBLIC, field.name))

    def test_noise_alone_gives_back_the_library(self, part):
        # Its expected power is that of noise: exactly so much counts as nothing. Signs alternate,
        # for noise has no mean: values that all point one way are what a cohort has in common.
        noise = np.where(np.arange(part.dimension) % 2, 3.0, -3.0)
        found = part.estimate(noise, 3.0 + 1e-9, PUBLIC)
        for field in fields(Numbers):
            np.testing.assert_allclose(
                getattr(found, field.name), getattr(PUBLIC, field.name), atol=1e-6
            )

    def test_only_its_own_number_changes(self, part):
        found = part.estimate(mean_of(part, people(30)), 0.0, PUBLIC)
        changed = [
            field.name
            for field in fields(Numbers)
            if not np.array_equal(getattr(found, field.name), getattr(PUBLIC, field.name))
        ]
        assert changed == [(MEANS | SPREADS)[type(part)]]

    def test_what_is_not_finite_stays_inside_the_vector(self, part):
        lost = Measured(np.full(12, np.nan), np.full((3, K), np.inf), np.full(F, np.nan))
        with np.errstate(invalid="ignore"):
            vector = part.measure(lost, PUBLIC)
        assert vector.shape == (part.dimension,)


@pytest.mark.parametrize(("kind", "name"), MEANS.items())
def test_without_noise_a_mean_is_the_cohorts(kind, name):
    part = next(one for one in PARTS if isinstance(one, kind))
    cohort = people(40)
    found = getattr(part.estimate(mean_of(part, cohort), 0.0, PUBLIC), name)
    truth = np.mean([getattr(one, name) for one in cohort], axis=0)
    np.testing.assert_allclose(found, truth, atol=1e-12)


@pytest.mark.parametrize(("kind", "name"), SPREADS.items())
@pytest.mark.parametrize("wide", [0.6, 1.0, 1.5])
def test_without_noise_a_spread_is_the_cohorts(kind, name, wide):
    part = next(one for one in PARTS if isinstance(one, kind))
    cohort = people(300, wide=wide)
    known = PUBLIC
    for one in (PARTS[0], PARTS[1], PARTS[3]):
        known = one.estimate(mean_of(one, cohort), 0.0, known)
    part = replace(part, public=PUBLIC)
    found = getattr(part.estimate(mean_of(part, cohort, known), 0.0, known), name)
    ratio = found / getattr(PUBLIC, name)
    assert abs(np.sqrt((ratio**2).mean()) - wide) < 0.1


def test_a_figure_that_a_scan_does_not_tell_counts_as_public():
    one = people(1)[0]
    figures = one.figures.copy()
    figures[2] = np.nan
    part = MeanFigures(PUBLIC)
    vector = part.measure(replace(one, figures=figures), PUBLIC)
    assert vector[2] == 0.0
    assert np.isfinite(vector).all()


def test_bands_are_means_over_what_is_near_in_frequency():
    values = np.arange(3.0 * K).reshape(3, K)
    means = BANDS.mean(values)
    assert means.shape == (3, BANDS.count)
    for band in range(BANDS.count):
        np.testing.assert_allclose(means[:, band], values[:, BANDS.of == band].mean(axis=1))
    np.testing.assert_array_equal(
        BANDS.spread(means)[:, BANDS.of == 1], means[:, [1]] + 0 * values[:, BANDS.of == 1]
    )
    assert (np.diff(BANDS.of) >= 0).all()


@pytest.mark.parametrize("size", [3, 30])
def test_shrinkage_keeps_what_noise_does_not_explain(size):
    values = np.full(size, 2.0)
    np.testing.assert_array_equal(toward_zero(values, 0.0), values)
    np.testing.assert_array_equal(toward_zero(values, 2.0), 0.0)
    # James-Stein keeps 15/16, the posterior of a population two deviations away 16/17.
    np.testing.assert_allclose(toward_zero(values, 0.5), 15.0 / 16.0 * values)
    assert not toward_zero(np.zeros(size), 1.0).any()


def test_large_noise_is_hardly_ever_taken_for_anatomy_and_never_for_much_of_it():
    rng = np.random.default_rng(0)
    taken = [toward_zero(100.0 * rng.standard_normal(40), 100.0) for _ in range(500)]
    assert sum(one.any() for one in taken) < 15
    assert max(np.abs(one).max() for one in taken) < 0.5


def test_what_all_numbers_have_in_common_is_seen_where_each_alone_drowns():
    rng = np.random.default_rng(1)
    truth = np.full(15, 2.0)
    found = [toward_common(truth + 1.5 * rng.standard_normal(15), 1.5) for _ in range(200)]
    alone = [toward_zero(truth + 1.5 * rng.standard_normal(15), 1.5) for _ in range(200)]
    error, worse = (np.sqrt(np.mean((np.array(one) - truth) ** 2)) for one in (found, alone))
    assert error < 0.75 * worse
    np.testing.assert_allclose(toward_common(truth + np.arange(15), 0.0), truth + np.arange(15))
    nothing = [toward_common(1.5 * rng.standard_normal(15), 1.5) for _ in range(500)]
    assert np.mean([one.any() for one in nothing]) < 0.06


def test_what_noise_leaves_unknown_of_a_mean_is_drawn():
    public = replace(PUBLIC, figures_within=0.4 * PUBLIC.figures_std)
    part, mean = MeanFigures(public), np.full(F, 0.5)
    known = part.estimate(mean, 0.0, public).figures_std
    doubtful = part.estimate(mean, 1.0, public).figures_std
    lost = part.estimate(mean, 1e6, public).figures_std
    np.testing.assert_allclose(known, public.figures_within)
    assert (known < doubtful).all()
    assert (doubtful < lost).all()
    np.testing.assert_allclose(lost, public.figures_std)
    # A cohort whose people differ as public ones do within a cohort changes nothing of it.
    spread = FiguresSpread(public)
    after = spread.estimate(np.zeros(F), 0.0, replace(public, figures_std=doubtful)).figures_std
    np.testing.assert_allclose(after, doubtful)


@pytest.mark.parametrize("related", [None, Related(np.eye(F), np.arange(F) // 3)])
def test_a_part_of_the_figures_leaves_the_others_as_they_are(related):
    public = replace(PUBLIC, figures_within=0.4 * PUBLIC.figures_std)
    public = public.with_error(0.9 * public.figures_std, np.inf)
    parts = [
        MeanFigures(public, related, stop=3, name="greys"),
        MeanFigures(public, related, start=3),
    ]
    cohort = people(5)
    vectors = [mean_of(part, cohort) for part in parts]
    whole = mean_of(MeanFigures(public, related), cohort)
    np.testing.assert_array_equal(np.concatenate(vectors), whole)
    numbers = parts[1].estimate(np.full(F - 3, 3.0), 0.5, public)
    np.testing.assert_array_equal(numbers.figures[:3], public.figures[:3])
    np.testing.assert_array_equal(numbers.figures_std[:3], public.figures_std[:3])
    assert (numbers.figures[3:] != public.figures[3:]).all()
    both = parts[0].estimate(np.full(3, 3.0), 0.1, numbers)
    np.testing.assert_array_equal(both.figures[3:], numbers.figures[3:])
    assert (both.figures[:3] != public.figures[:3]).all()
    noise = [np.inf] * F if related is None else [0.1] * 3 + [0.5] * (F - 3)
    np.testing.assert_array_equal(both.figures_noise, noise)


def test_what_is_not_known_of_a_mean_is_stored_beside_it():
    told = PUBLIC.with_error(0.5 * PUBLIC.figures_std, 0.7)
    again = Numbers.from_arrays(told.to_arrays())
    np.testing.assert_array_equal(again.figures_error, told.figures_error)
    np.testing.assert_array_equal(again.figures_noise, np.full(F, 0.7))
    assert not len(Numbers.from_arrays(PUBLIC.to_arrays()).figures_error)
    # Whoever trains on measures around it; how people differ is then all that there is.
    assert not len(around(told).figures_error)
    assert not len(told.with_error(np.zeros(F), 0.7).figures_noise)


@pytest.mark.parametrize("greys", [0, 3])
@pytest.mark.parametrize("share", [SHAPE_SHARE, EARLIER_SHAPE_SHARE])
def test_a_released_vector_is_read_back_by_the_shares_that_it_was_released_with(share, greys):
    """Audits of models of any version compare patients with what those models released."""
    parts = mean_parts(PUBLIC, BANDS, 9, share, greys=greys)
    own = joint.joined(parts)
    vectors = {part.name: np.full(part.dimension, 0.1) for part in parts}
    released = own.join(vectors)
    read = parts_of(MEANS_MECHANISM, len(released), PUBLIC, BANDS, share, greys)
    assert [part.name for part in read] == [part.name for part in parts]
    again = joint.joined(read)
    for name, values in again.split(released).items():
        assert np.allclose(values, vectors[name])
    other = joint.joined(parts_of(MEANS_MECHANISM, len(released), PUBLIC, BANDS, 0.5))
    assert not np.allclose(other.split(released)["shape"], vectors["shape"], rtol=0.05)
