"""What the mechanism of sites releases: shares, and how the figures of each site deviate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.anatomy.numbers import LEAST_WITHIN, Numbers
from medvae.anatomy.parts import (
    BY_SITE,
    SHAPE_SHARE,
    Apart,
    Measured,
    class_parts,
    parts_of,
    site_parts,
)
from medvae.anatomy.shift import differences, strongest
from medvae.privacy import joint
from tests.anatomy.test_parts import BANDS, PUBLIC, people

COUNT = 2
PARTS = site_parts(PUBLIC, COUNT)
F = len(PUBLIC.figures)


def cohort(shift: float = 1.0) -> list[Measured]:
    """Three quarters of site 0, who are as public people, and a quarter of 1, who deviate."""
    one = Measured(PUBLIC.place, PUBLIC.shape, PUBLIC.figures)
    return [
        replace(one, figures=PUBLIC.figures + PUBLIC.figures_std * shift * site, site=site)
        for site in [0, 0, 0, 1] * 20
    ]


def known_means(cohort: list[Measured]) -> Numbers:
    """Numbers whose mean of all is that of the cohort."""
    return replace(PUBLIC, figures=np.mean([one.figures for one in cohort], axis=0))


def vectors(cohort: list[Measured], numbers: Numbers) -> list[np.ndarray]:
    return [np.mean([part.measure(one, numbers) for one in cohort], axis=0) for part in PARTS]


def estimated(cohort: list[Measured], sigma: float = 0.0, noise: float = 0.0) -> Numbers:
    """What the parts make of their mean vectors."""
    rng, known = np.random.default_rng(0), known_means(cohort)
    for part, mean in zip(PARTS, vectors(cohort, known), strict=True):
        known = part.estimate(mean + noise * rng.standard_normal(len(mean)), sigma, known)
    return known


def test_without_noise_shares_and_figures_are_those_of_the_sites() -> None:
    known = estimated(cohort())
    np.testing.assert_allclose(known.site_shares, [3 / 4, 1 / 4])
    for site in range(COUNT):
        own = known.of_site(site)
        wanted = PUBLIC.figures + site * PUBLIC.figures_std
        np.testing.assert_allclose(own.figures, wanted, atol=1e-12)
        np.testing.assert_array_equal(own.place, known.place)
        np.testing.assert_array_equal(own.shape, known.shape)


def test_the_error_of_the_released_mean_is_made_good_by_what_sites_have_in_common() -> None:
    found = cohort()
    known = replace(known_means(found), figures=known_means(found).figures + PUBLIC.figures_std)
    for part, mean in zip(PARTS, vectors(found, known), strict=True):
        known = part.estimate(mean, 0.0, known)
    for site in range(COUNT):
        own = known.of_site(site).figures
        np.testing.assert_allclose(own, PUBLIC.figures + site * PUBLIC.figures_std)


def test_drowned_in_noise_sites_are_as_large_and_as_all_patients() -> None:
    known = estimated(cohort(), sigma=30.0, noise=30.0)
    np.testing.assert_allclose(known.site_shares, 1 / COUNT, atol=0.01)
    for site in range(COUNT):
        away = (known.of_site(site).figures - known.figures) / PUBLIC.figures_std
        assert np.abs(away).max() < 0.2


@pytest.mark.parametrize("site", [None, -1, COUNT])
def test_a_volume_of_no_site_adds_nothing(site) -> None:
    one = replace(people(1)[0], site=site)
    assert not any(part.measure(one, PUBLIC).any() for part in PARTS)


@pytest.mark.parametrize("site", range(COUNT))
def test_a_volume_fills_the_block_of_its_site_alone(site) -> None:
    for part in PARTS:
        blocks = part.measure(replace(people(1)[0], site=site), PUBLIC).reshape(COUNT, -1)
        assert blocks[site].any()
        assert np.count_nonzero(blocks.any(axis=1)) == 1


def test_more_of_one_class_is_not_taken_for_another_scanner() -> None:
    """Site 1 sees class 1 alone, whose figures are brighter; site 0 sees class 0 alone."""
    found = [replace(one, category=one.site) for one in cohort()]
    known = known_means(found)
    for part in class_parts(PUBLIC, BANDS, 2):
        mean = np.mean([part.measure(one, known) for one in found], axis=0)
        known = part.estimate(mean, 0.0, known)
    for part, mean in zip(PARTS, vectors(found, known), strict=True):
        known = part.estimate(mean, 0.0, known)
    np.testing.assert_allclose(known.site_figures, 0.0, atol=1e-9)
    # A class beyond those declared counts as none.
    strange = replace(found[0], category=7)
    assert np.isfinite(PARTS[1].measure(strange, known)).all()


def test_what_a_volume_does_not_show_counts_as_the_mean_of_all() -> None:
    figures = PUBLIC.figures.copy()
    figures[0] = np.nan
    one = replace(people(1)[0], figures=figures, site=1)
    assert PARTS[1].measure(one, PUBLIC)[F] == 0.0


def test_an_audit_finds_the_parts_of_a_released_vector() -> None:
    joined = joint.joined(PARTS)
    again = joint.joined(parts_of(BY_SITE, joined.dimension, PUBLIC, BANDS, SHAPE_SHARE))
    assert [part.name for part in again.parts] == [part.name for part in joined.parts]
    assert again.dimension == joined.dimension


def test_sites_survive_a_model_file_and_a_cohort_without_any_stores_none() -> None:
    known = estimated(cohort())
    again = Numbers.from_arrays(known.to_arrays())
    np.testing.assert_array_equal(again.site_figures, known.site_figures)
    assert not any(name.startswith("site") for name in PUBLIC.to_arrays())
    assert Numbers.from_arrays(PUBLIC.to_arrays()).sites == 0
    lost = {k: v for k, v in known.to_arrays().items() if k != "site_shares"}
    with pytest.raises(KeyError, match="site_shares"):
        Numbers.from_arrays(lost)


def test_patients_of_a_site_differ_by_what_all_do_less_what_sites_do() -> None:
    known = estimated(cohort(1.0))
    between = 3 / 4 * 1 / 4
    within = known.of_site(1).figures_std / known.figures_std
    np.testing.assert_allclose(within, np.sqrt(1.0 - between))
    far = estimated(cohort(5.0)).of_site(0)
    np.testing.assert_allclose(far.figures_std, np.sqrt(LEAST_WITHIN) * known.figures_std)
    assert known.of_site(None) is known


def test_sites_are_picked_as_often_as_released() -> None:
    known, random = estimated(cohort()), np.random.default_rng(5)
    picked = [known.pick_site(random) for _ in range(3000)]
    np.testing.assert_allclose(np.bincount(picked) / 3000, known.site_shares, atol=0.03)
    state = random.bit_generator.state
    assert PUBLIC.pick_site(random) is None
    assert random.bit_generator.state == state


def test_noise_of_a_sites_own_part_is_what_it_is_said_to_be() -> None:
    rng, shares, sigma = np.random.default_rng(2), np.array([0.2, 0.3, 0.5]), 0.1
    drawn = [Apart.of(sigma * rng.standard_normal(6), sigma, shares) for _ in range(4000)]
    own = np.stack([one.own for one in drawn]).std(axis=(0, 2))
    np.testing.assert_allclose(own, drawn[0].own_sigma, rtol=0.05)
    common = np.stack([one.common for one in drawn]).std()
    assert common == pytest.approx(drawn[0].common_sigma, rel=0.05)


def test_differences_are_named_where_they_are_and_seldom_where_they_are_not() -> None:
    rng, shares, sigma, n, figures = np.random.default_rng(4), np.full(2, 0.5), 0.05, 100, 30
    alike = 0
    for _ in range(200):
        site = np.tile([0, 1], n // 2)
        values = rng.standard_normal((n, figures))
        sums = np.stack([(values * (site == s)[:, None]).mean(axis=0) for s in (0, 1)])
        noisy = (sums + sigma * rng.standard_normal(sums.shape)).ravel()
        alike += any(one.differs for one in differences(noisy, sigma, shares, n))
    # Ten in two hundred are expected at most; twice that is as good as impossible.
    assert alike < 20
    sums[1, 3] += 1.0
    found = differences(sums.ravel(), sigma, shares, n)
    assert {(one.site, one.figure) for one in found if one.differs} == {(0, 3), (1, 3)}
    assert [one.figure for one in strongest(found)] == [3, 3]
    one = next(one for one in found if (one.site, one.figure) == (1, 3))
    # Half of the site's mean of 2 is that of all, too.
    assert one.difference == pytest.approx(1.0, abs=0.4)
    assert (one.noise, one.chance) == pytest.approx((0.05 * 2**0.5, 0.1))
