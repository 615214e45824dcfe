"""Draws of a site beside its own patients, beside draws of all sites."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.evaluate.sites import LEAST, by_site

SITES = ("north", "south")
COUNT = 40


def cohort(seed: int, apart: float) -> tuple[np.ndarray, list[str | None]]:
    random = np.random.default_rng(seed)
    features = [random.normal(index * apart, 1, (COUNT, 6)) for index in range(2)]
    return np.concatenate(features), [site for site in SITES for _ in range(COUNT)]


def test_draws_of_a_site_are_nearer_to_it_than_those_of_all() -> None:
    figure = by_site(*cohort(0, 3), *cohort(1, 3))["site_frechet"]
    for name, other in (SITES, SITES[::-1]):
        site = figure["sites"][name]
        assert site["nearer"] is True
        assert site["own"] < site["pooled"] < site["others"][other]
        assert (site["draws"], site["patients"]) == (COUNT, COUNT)
    own = [site["own"] for site in figure["sites"].values()]
    assert figure["value"] == pytest.approx(np.mean(own))


def test_a_model_that_takes_one_site_for_the_other_is_seen() -> None:
    fake, sites = cohort(0, 3)
    figure = by_site(fake, sites[::-1], *cohort(1, 3))["site_frechet"]
    assert [site["nearer"] for site in figure["sites"].values()] == [False, False]


def test_as_many_draws_are_compared() -> None:
    """A set of few draws is farther from anything; without equal numbers no site were nearer."""
    fake, sites = cohort(0, 0.0)
    keep = [at for at, site in enumerate(sites) if site == "north" or at % 5 == 0]
    figure = by_site(fake[keep], [sites[at] for at in keep], *cohort(1, 0.0))["site_frechet"]
    site = figure["sites"]["south"]
    assert site["draws"] == COUNT // 5
    assert site["own"] == pytest.approx(site["pooled"], rel=0.5)


@pytest.mark.parametrize("left", [0, LEAST - 1])
def test_a_site_with_too_few_is_left_out(left: int) -> None:
    fake, sites = cohort(0, 3)
    few = [site if site == "north" or at >= 2 * COUNT - left else None
           for at, site in enumerate(sites)]  # fmt: skip
    assert by_site(fake, few, *cohort(1, 3)) == {}
    assert by_site(fake, [None] * len(sites), *cohort(1, 3)) == {}
