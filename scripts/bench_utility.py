"""What synthetic volumes are worth, beside real ones and beside other ways to make them.

    scripts/bench utility [--quick] [--json FILE] [--only REGEX] [--seeds N]
                         [--fold K] [--data hippocampus|lung] [--fresh]

Five sixths of the patients (of CT: two thirds) train, the others test (split by subject; --fold
names the split).
Every method gets the same patients, epsilon, delta and seeds; delta is 1e-5. Constants of the
atlas come from public anatomy (MNI152), procedural shapes and, where docs/benchmarks/utility.md
says so, from looking at mri_hippocampus; they are applied unchanged to ct_lung_nodule.
mri_hippocampus is read from MEDVAE_REAL_DATA; without it the procedural cohort of
`utility.cohorts` stands in, and the table says so. Each row goes to rows.jsonl as soon as it is
measured, and a row that is there is not done again: stop at any time, and run the same line to go
on. Tables, plots and contact sheets are made of all rows of the file, in bench-out/utility (or
MEDVAE_BENCH_OUT).

With `--data lung` it is ct_lung_nodule instead, with malignancy as the class, and the AUC of a
classifier in the place of Dice. The classifier was chosen between real patients alone, CT's
constants on procedural nodules.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pages
import torch
from comparison.bench import SHOWN, Bench, in_order
from comparison.row import Row
from comparison.sheet import Slices, sheet, slices
from comparison.store import Store
from utility.cohorts import Cohort, hippocampus, lung_nodule, procedural, procedural_nodules
from utility.methods import DELTA
from utility.plots import plots
from utility.report import ablation
from utility.rows import rows

from medvae.grid import Gridded

ITERATIONS = 300
# Volumes that are learnt from (drawing more costs no privacy) and those that are compared.
LEARNT, COMPARED = 800, 183
LUNG_LEARNT, LUNG_COMPARED = 1200, 600
QUICK_COUNT, QUICK_ITERATIONS = 24, 40
# Gap to real in Dice points that the atlas or the pipeline may have, by epsilon.
GAPS = {8.0: 0.05, 3.0: 0.08, 1.0: 0.20}
# The same of the AUC of malignancy.
AUC_GAP = 0.06


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only this benchmark has."""
    parser.add_argument("--only", metavar="REGEX", help="rows whose name matches (--list: names)")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--seeds", type=int, default=3, help="of each method at epsilon 8")
    parser.add_argument("--fold", type=int, default=0, help="which split of the patients")
    parser.add_argument("--data", choices=("hippocampus", "lung"), default="hippocampus")
    parser.add_argument("--fresh", action="store_true", help="forget the rows that are done")


def main(
    quick: bool = False,
    only: str | None = None,
    list: bool = False,
    seeds: int = 3,
    fold: int = 0,
    data: str = "hippocampus",
    fresh: bool = False,
) -> dict[str, Any]:
    """machine, results and targets; plots and contact sheets beside them."""
    wanted = [row for row in rows(quick and only is None, seeds, data) if _named(row, only)]
    if list:
        print("\n".join(row.title for row in wanted))
        return {"machine": {}, "results": [], "targets": []}
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    cohort = _cohort(data, fold)
    folder = Path(os.environ.get("MEDVAE_BENCH_OUT", "bench-out/utility"))
    store = Store(folder, data=cohort.name, fold=fold, quick=quick)
    if fresh:
        store.forget()
    _bench(cohort, store, quick).run(wanted, cohort)
    results = in_order(store.results(), [row.method for row in rows(False, seeds, data)])
    _report(results, store, cohort, folder)
    machine = {"system": pages.system(), "cores": os.cpu_count(), "data": cohort.name}
    machine |= {"train": len(cohort.train), "test": len(cohort.test), "delta": DELTA, "fold": fold}
    # Forty iterations leave even real data half learnt: a gap between two such figures would
    # meet any target, so a quick run claims none.
    judge = auc_targets if data == "lung" else targets
    return {"machine": machine, "results": results, "targets": [] if quick else judge(results)}


def _named(row: Row, only: str | None) -> bool:
    return only is None or re.search(only, row.title) is not None


def _bench(cohort: Cohort, store: Store, quick: bool) -> Bench:
    lung = cohort.data.classes > 0
    return Bench(
        store,
        # A quick run looks at every third test volume; its figures say only that the path works.
        cohort.held_out[::3] if quick else cohort.held_out,
        cohort.data.labels,
        count=QUICK_COUNT if quick else (LUNG_LEARNT if lung else LEARNT),
        iterations=QUICK_ITERATIONS if quick else ITERATIONS,
        compared=LUNG_COMPARED if lung else COMPARED,
        show=partial(_slices, cohort),
        quick=quick,
    )


def _slices(cohort: Cohort, volumes: Sequence[Gridded]) -> Slices:
    """Axial nodules; of hippocampi, across the first axis beside the middle."""
    return slices(volumes, 2) if cohort.data.classes > 0 else slices(volumes, 0, -2)


def _report(results: list[dict[str, Any]], store: Store, cohort: Cohort, folder: Path) -> None:
    """Plots, contact sheet and the table of stages, of all rows that there are."""
    stages = ablation(results)
    if stages:
        print(f"\nWhat each stage adds at epsilon 8\n{stages}")
    plots(results, folder / "utility.png", cohort.name)
    sheet(
        [
            (f"real: {cohort.name}", _slices(cohort, cohort.held_out[:SHOWN])),
            *store.pictures(results),
        ],
        folder / "sheet.png",
    )


def _cohort(data: str, fold: int) -> Cohort:
    real = os.environ.get("MEDVAE_REAL_DATA")
    folder = "ct_lung_nodule" if data == "lung" else "mri_hippocampus"
    if real and (Path(real) / folder).is_dir():
        return (lung_nodule if data == "lung" else hippocampus)(Path(real), fold)
    print(f"MEDVAE_REAL_DATA names no {folder}: a procedural cohort stands in")
    return procedural_nodules(fold=fold) if data == "lung" else procedural(fold=fold)


def auc_targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gap to real in AUC at epsilon 8, for each way as the mean over seeds."""
    real = next((row["auc"] for row in results if row["method"].startswith("real")), None)
    found = []
    for method in ("atlas alone", "full pipeline"):
        seen = [r["auc"] for r in results if r["method"] == method and r["epsilon"] == 8.0]
        gap = real - sum(seen) / len(seen) if seen and real is not None else None
        name = f"lung nodules: gap to real in AUC of malignancy at epsilon 8, {method}"
        met = gap is not None and gap <= AUC_GAP
        found.append({"name": name, "value": gap, "target": f"<= {AUC_GAP}", "met": met})
    return found


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gaps to real in Dice, for the better of atlas and pipeline: means over the seeds of both."""
    real = {r["seed"]: r["dice"] for r in results if r["method"] == "real, all patients"}
    found = []
    for epsilon, allowed in GAPS.items():
        gaps = []
        for method in ("atlas alone", "full pipeline"):
            rows_of = [r for r in results if r["method"] == method and r["epsilon"] == epsilon]
            between = [real[r["seed"]] - r["dice"] for r in rows_of if r["seed"] in real]
            if between:
                gaps.append(sum(between) / len(between))
        gap = min(gaps, default=None)
        name = f"hippocampus: Dice gap to real at epsilon {epsilon:g}"
        met = gap is not None and gap <= allowed
        found.append({"name": name, "value": gap, "target": f"<= {allowed}", "met": met})
    return found
