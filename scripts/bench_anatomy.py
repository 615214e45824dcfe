"""What the anatomy model's volumes are worth, on cohorts with and without public people.

    scripts/bench anatomy [--cohort NAME] [--quick] [--json FILE] [--only REGEX] [--list]
                         [--seeds N] [--fold K] [--fresh]
    scripts/bench anatomy --scale
    scripts/bench anatomy --large

Every private row goes the way of a user: the library's entry is added, the patients are ingested
into a tenant of their own, a model is trained and drawn from, all through the API; a row without
privacy is of real or public people. Figures are of a network that is trained on the row's volumes
and tested on held-out people (Dice, of nodules the AUC of malignancy), and of features (Frechet
distance, diversity, coverage). Whole heads are drawn at 2 mm and compared at 4 mm; hearts on 2 x 2
x 8 mm; the others at 1 mm. Two thirds of the people train (of the hippocampus five sixths), split
by person; "own library" sets a quarter of all people aside, who are then no patients. Epsilon 50,
the largest that can be planned, stands for no noise. Seeds of one row are trainings of their own:
the product's noise cannot be chosen.
Brain stem and deep grey matter are crops of the heads: small fields of view with many labels.

With --scale: seconds and memory of training on heads and drawing them at 4, 2 and 1 mm, instead.
With --large: seconds and memory of each verb on made-up CT of 512 x 512 x 300 voxels, instead.

Reads MEDVAE_REAL_DATA. Each row is kept in rows.jsonl as soon as it is measured: stop at any time,
and run the same line to go on. Tables and contact sheets are made of all rows of the file, in
bench-out/anatomy (or MEDVAE_BENCH_OUT).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import organs.large
import organs.scale
import pages
import torch
from comparison.bench import SHOWN, Bench, in_order
from comparison.sheet import Slices, sheet, slices
from comparison.store import Store
from organs import COHORTS
from organs.cohorts import Cohort
from organs.product import Product
from organs.rows import rows
from organs.scale import SPACINGS
from organs.targets import targets

from medvae.grid import Gridded
from medvae.privacy import DEFAULT_DELTA

ITERATIONS = 300
# The whole path with smaller numbers.
QUICK_SETTINGS = (
    "model.preset=tiny",
    "pretrain.steps=10",
    "atlas.samples=8",
    "atlas.steps=5",
    "finetune.steps=4",
    "prior.rank=4",
)
QUICK_ITERATIONS, QUICK_COUNT, QUICK_PATIENTS, QUICK_TESTED = 20, 24, 24, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only this benchmark has."""
    parser.add_argument("--cohort", choices=tuple(COHORTS), help="this one alone")
    parser.add_argument("--only", metavar="REGEX", help="rows whose name matches (--list: names)")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--seeds", type=int, default=3, help="of what is at epsilon 8")
    parser.add_argument("--fold", type=int, default=0, help="which split of the people")
    parser.add_argument("--scale", action="store_true", help="seconds and memory by voxel size")
    parser.add_argument("--large", action="store_true", help="each verb on CT of 512 x 512 x 300")
    parser.add_argument("--fresh", action="store_true", help="forget the rows that are done")


def main(
    quick: bool = False,
    cohort: str | None = None,
    only: str | None = None,
    list: bool = False,
    seeds: int = 3,
    fold: int = 0,
    scale: bool = False,
    large: bool = False,
    fresh: bool = False,
) -> dict[str, Any]:
    """machine, results and targets; contact sheets beside them."""
    folder = Path(os.environ.get("MEDVAE_BENCH_OUT", "bench-out/anatomy"))
    machine = {"system": pages.system(), "cores": os.cpu_count(), "delta": DEFAULT_DELTA}
    if large:
        verbs = organs.large.rows(quick)
        met = [] if quick else organs.large.targets(verbs)
        return {"machine": machine, "results": verbs, "targets": met}
    if scale:
        _data()
        sizes = organs.scale.rows(folder / "vaults-scale", (8.0, 4.0) if quick else SPACINGS)
        organs.scale.plot(sizes, folder / "scale.png")
        met = [] if quick else organs.scale.targets(sizes)
        return {"machine": machine, "results": sizes, "targets": met}
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    results, judged = [], []
    for name in [cohort] if cohort else COHORTS:
        people = _cohort(name, fold, quick)
        product = Product(people, folder / f"vaults-{name}-{fold}{'-quick' if quick else ''}")
        all_rows = rows(people, product, 1 if quick else seeds)
        wanted = [row for row in all_rows if only is None or re.search(only, row.title)]
        if list:
            print("\n".join(f"{name}: {row.title}" for row in wanted))
            continue
        store = Store(folder, data=name, fold=fold, quick=quick)
        if fresh:
            store.forget()
        bench = _bench(people, store, quick)
        print(f"\n{name}: {len(people.train)} people train, {len(people.test)} test")
        bench.run(wanted, people)
        found = in_order(store.results(), [row.method for row in all_rows])
        real = ("real", bench.show(bench.held_out[:SHOWN]))
        sheet([real, *store.pictures(found)], folder / f"sheet-{name}.png")
        results += found
        # Few iterations leave even real data half learnt: a quick run claims nothing.
        judged += [] if quick else targets(found, name)
    return {"machine": machine | {"fold": fold}, "results": results, "targets": judged}


def _bench(cohort: Cohort, store: Store, quick: bool) -> Bench:
    return Bench(
        store,
        cohort.gridded(cohort.test.values(), cohort.measured),
        cohort.measured.labels,
        count=QUICK_COUNT if quick else cohort.count,
        iterations=QUICK_ITERATIONS if quick else ITERATIONS,
        compared=cohort.compared,
        show=partial(_show, cohort.axis),
        quick=quick,
    )


def _show(axis: int, volumes: Sequence[Gridded]) -> Slices:
    return slices(volumes, axis)


def _cohort(name: str, fold: int, quick: bool) -> Cohort:
    found = COHORTS[name](_data(), fold)
    if not quick:
        return found
    # The whole path on few people; its figures say only that the path works.
    return dataclasses.replace(
        found,
        train=dict([*found.train.items()][:QUICK_PATIENTS]),
        test=dict([*found.test.items()][:QUICK_TESTED]),
        drawn=found.measured,
        overrides=QUICK_SETTINGS,
    )


def _data() -> Path:
    root = os.environ.get("MEDVAE_REAL_DATA")
    if not root or not Path(root).is_dir():
        sys.exit("bench anatomy: MEDVAE_REAL_DATA names no folder of real scans; set it to one")
    return Path(root)
