"""The rows of the table: which method, at which epsilon, with which seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from comparison.row import Make, Row

from medvae.grid import Gridded
from utility import methods
from utility.cohorts import Cohort
from utility.dct import dct_gaussian
from utility.merf import merf
from utility.scratch import scratch_vae

# More than any cohort has.
ALL = 10_000
# The total that stages are compared at.
EPSILON = 8.0


def _of(patients: int) -> str:
    return "real, all patients" if patients == ALL else f"real, {patients} patients"


def rows(quick: bool, seeds: int = 3, data: str = "hippocampus") -> list[Row]:
    """All rows of a data set, cheap ones first; `seeds` of each method at epsilon 8."""
    if data == "lung":
        return _of_classes(quick, seeds)
    # The same seeds of the network that is tested as the rows that are held against them.
    found = [Row(_of(ALL), None, seed, _real(ALL)) for seed in range(1 if quick else seeds)]
    few = () if quick else (30, 10, 3)
    found += [Row(_of(patients), None, 0, _real(patients)) for patients in few]
    found.append(Row("no data", 0.0, 0, methods.nothing))
    epsilons = (8.0,) if quick else (1.0, 3.0, 8.0, math.inf)
    found += _seeded("atlas alone", methods.atlas_alone, epsilons, 1 if quick else seeds)
    if quick:
        return found
    found += _baselines()
    found += _seeded("full pipeline", methods.pipeline, epsilons, seeds)
    for method, stages in methods.STAGES.items():
        found += _seeded(method, methods.staged, (EPSILON,), seeds, stages=stages)
    return found


def _of_classes(quick: bool, seeds: int) -> list[Row]:
    """Rows of the cohort with classes: what is judged there is a classifier."""
    found = [Row(_of(ALL), None, 0, _real(ALL))]
    epsilons = (8.0,) if quick else (1.0, 3.0, 8.0, math.inf)
    found += _seeded("atlas alone", methods.atlas_alone, epsilons, 1 if quick else seeds)
    if not quick:
        found += _seeded("full pipeline", methods.pipeline, epsilons, seeds)
    return found


def _baselines() -> list[Row]:
    found = []
    for epsilon in (1.0, 3.0, 8.0):
        for name, public in (("no public template", "none"), ("no public labels", "mni152")):
            made = _at(methods.atlas_alone, epsilon, public=(public, None))
            found.append(Row(f"atlas alone, {name}", epsilon, 0, made))
        unaided = _at(methods.pipeline, epsilon, public=("none", None))
        found.append(Row("full pipeline, no public template", epsilon, 0, unaided))
    for epsilon in (1.0, 8.0, math.inf):
        dct = _at(dct_gaussian, epsilon)
        found.append(Row("DCT mean + covariance", epsilon, 0, dct))
        found.append(Row("DP-MERF", epsilon, 0, _at(merf, epsilon)))
    found.append(Row("DP-SGD VAE from scratch", 8.0, 0, _at(scratch_vae, 8.0)))
    found.append(Row("VAE without privacy", math.inf, 0, _at(scratch_vae, math.inf)))
    return found


def _seeded(
    name: str,
    method: Callable[..., list[Gridded]],
    epsilons: tuple[float, ...],
    seeds: int,
    **options: Any,
) -> list[Row]:
    return [
        Row(name, epsilon, seed, _at(method, epsilon, **options))
        for epsilon in epsilons
        for seed in range(seeds if epsilon == EPSILON else 1)
    ]


def _real(patients: int) -> Make:
    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        return methods.real(cohort, patients)

    return make


def _at(method: Callable[..., list[Gridded]], epsilon: float, **options: Any) -> Make:
    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        return method(cohort, epsilon, count, seed, **options)

    return make
