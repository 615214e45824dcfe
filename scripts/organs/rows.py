"""Rows of the anatomy benchmark: real people, public people, and patients under privacy."""

from __future__ import annotations

import numpy as np
from comparison.row import Make, Row

from medvae.grid import Gridded
from organs.cohorts import Cohort, People, public_scans
from organs.product import Product

# More than any cohort has.
ALL = 10_000
# Stands for no noise: the largest epsilon that the product plans.
LEAST_NOISE = 50.0
PRIVATE, OWN, NONE = "private, public library", "private, own library", "private, no library"
ATLAS = "private, atlas"
MIXED = "private, with public images twice"
IMAGES, DRAWN = "public images directly", "public people drawn"
OWN_IMAGES, OWN_DRAWN = "own library's images directly", "own library drawn"


def real_name(patients: int) -> str:
    return "real, all patients" if patients == ALL else f"real, {patients} patients"


def rows(cohort: Cohort, product: Product, seeds: int) -> list[Row]:
    """All rows of a cohort; each seed of what is at epsilon 8 trains another network."""
    found = [Row(real_name(ALL), None, seed, _real(ALL)) for seed in range(seeds)]
    # Three patients may all be of one class, and a classifier learns nothing from that.
    few = () if cohort.classes else (30, 10, 3)
    found += [Row(real_name(n), None, 0, _real(n)) for n in few]
    if cohort.public is not None:
        if cohort.public.images:
            found.append(Row(IMAGES, 0.0, 0, _public_images))
        found.append(Row(DRAWN, 0.0, 0, _public_draws(product, "public")))
        trained = _epsilons(seeds, 3.0, 1.0, LEAST_NOISE)
        found += [Row(PRIVATE, e, seed, _private(product, "public", e)) for e, seed in trained]
        if cohort.public.images:
            found.append(Row(MIXED, 8.0, 0, _mixed(product)))
    if cohort.scheme:
        found.append(Row(OWN_IMAGES, 0.0, 0, _own_images))
        found.append(Row(OWN_DRAWN, 0.0, 0, _public_draws(product, "own")))
        trained = _epsilons(1, 3.0, 1.0)
        found += [Row(OWN, e, seed, _private(product, "own", e)) for e, seed in trained]
    trained = _epsilons(1) if cohort.public else _epsilons(seeds, 3.0, 1.0)
    found += [Row(NONE, e, seed, _private(product, None, e)) for e, seed in trained]
    if cohort.scheme:
        # Without labels it is what there is without a library.
        found += [Row(ATLAS, e, seed, _private(product, "none", e)) for e, seed in trained]
    return found


def _epsilons(seeds: int, *others: float) -> list[tuple[float, int]]:
    """(epsilon, seed): so many seeds at 8, and one of each other."""
    return [(8.0, seed) for seed in range(seeds)] + [(epsilon, 0) for epsilon in others]


def _add(product: Product, entry: str | None) -> People:
    """The patients who are left beside an entry, which is in its vault now."""
    cohort = product.cohort
    if entry == "own":
        library, patients = cohort.set_aside()
        product.add_own(entry, library)
        return patients
    if entry not in (None, "none"):
        assert cohort.public is not None
        product.add(entry, cohort.public)
    return cohort.train


def _private(product: Product, entry: str | None, epsilon: float) -> Make:
    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        return product.private(_add(product, entry), epsilon, count, seed, entry)

    return make


def _mixed(product: Product) -> Make:
    """Draws at epsilon 8, among the public people's own images."""

    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        images = 2 * _public_images(cohort, count, seed)
        drawn = _private(product, "public", 8.0)(cohort, max(count - len(images), 1), seed)
        found = [*drawn, *images]
        order = np.random.default_rng(seed).permutation(len(found))
        # Distances are of the first so many: these are mixed, too.
        return [found[place] for place in order]

    return make


def _public_draws(product: Product, entry: str) -> Make:
    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        _add(product, entry)
        return product.public(count, seed, entry)

    return make


def _real(patients: int) -> Make:
    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        return cohort.gridded(list(cohort.train.values())[:patients], cohort.measured)

    return make


def _public_images(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
    assert cohort.public is not None
    return cohort.gridded(public_scans(cohort.public).values(), cohort.measured)


def _own_images(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
    return cohort.gridded(cohort.set_aside()[0].values(), cohort.measured)
