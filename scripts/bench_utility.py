"""What synthetic volumes are worth, beside real ones and beside other ways to make them.

    scripts/bench utility [--quick] [--json FILE] [--data hippocampus|lung]

Two thirds of the patients train, the others test (split by subject, seeded). Every method gets
the same patients, epsilon, delta and seeds; delta is 1e-4. Constants of the atlas come from
public anatomy (MNI152) and procedural shapes. mri_hippocampus is read from MEDVAE_REAL_DATA;
without it the procedural cohort of `utility.cohorts` stands in, and the table says so.

With `--data lung` it is ct_lung_nodule instead, with malignancy as the class, and the AUC of a
classifier in the place of Dice: real patients, atlas alone and pipeline, each in a few minutes.
The classifier was chosen between real patients alone, CT's constants on procedural nodules.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from utility import baselines, methods
from utility.cohorts import Cohort, hippocampus, lung_nodule, procedural, procedural_nodules
from utility.measure import features, measure
from utility.report import plots, sheet, table

from medvae.grid import Gridded

COUNT, ITERATIONS = 183, 300
# Volumes of lung nodules: drawing more costs no privacy, and the classifier sees less chance.
LUNG_COUNT = 600
Make = Callable[[Cohort, int, int], list[Gridded]]
# Gap to real in Dice points that the atlas or the pipeline may have, by epsilon.
GAPS = {8.0: 0.05, 3.0: 0.08, 1.0: 0.20}
# The same of the AUC of malignancy.
AUC_GAP = 0.06


def rows(quick: bool) -> list[tuple[str, float | None, int, Make]]:
    """(method, epsilon, seed, maker); epsilon None where there is no training or no privacy."""
    found: list[tuple[str, float | None, int, Make]] = []
    for patients in (80,) if quick else (80, 30, 10, 3):
        found.append((f"real, {patients} patients", None, 0, _real(patients)))
    found.append(("no data", 0.0, 0, methods.nothing))
    for epsilon in (8.0,) if quick else (1.0, 3.0, 8.0, math.inf):
        for seed in range(3 if epsilon == 8.0 and not quick else 1):
            found.append(("atlas alone", epsilon, seed, _at(methods.atlas_alone, epsilon)))
    if quick:
        return found
    for epsilon in (1.0, 3.0, 8.0):
        private = _at(methods.atlas_alone, epsilon, public="none")
        found.append(("atlas alone, no public template", epsilon, 0, private))
    for epsilon in (1.0, 8.0, math.inf):
        found.append(("DCT mean + covariance", epsilon, 0, _at(baselines.dct_gaussian, epsilon)))
        found.append(("DP-MERF", epsilon, 0, _at(baselines.merf, epsilon)))
    found.append(("DP-SGD VAE from scratch", 8.0, 0, _at(baselines.scratch_vae, 8.0)))
    found.append(("VAE without privacy", math.inf, 0, _at(baselines.scratch_vae, math.inf)))
    for epsilon in (1.0, 3.0, 8.0, math.inf):
        for seed in range(3 if epsilon == 8.0 else 1):
            found.append(("full pipeline", epsilon, seed, _at(methods.pipeline, epsilon)))
    return found


def lung_rows(quick: bool) -> list[tuple[str, float | None, int, Make]]:
    """The same of the cohort with classes."""
    found: list[tuple[str, float | None, int, Make]] = [
        ("real, all patients", None, 0, _real(1000))
    ]
    ways = (("atlas alone", methods.atlas_alone), ("full pipeline", methods.pipeline))
    for name, method in ways[:1] if quick else ways:
        for epsilon in (8.0,) if quick else (1.0, 3.0, 8.0, math.inf):
            for seed in range(3 if epsilon == 8.0 and not quick else 1):
                found.append((name, epsilon, seed, _at(method, epsilon)))
    return found


def _real(patients: int) -> Make:
    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        return methods.real(cohort, patients)

    return make


def _at(method: Callable[..., list[Gridded]], epsilon: float, **options: Any) -> Make:
    def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
        return method(cohort, epsilon, count, seed, **options)

    return make


def main(quick: bool = False, data: str = "hippocampus") -> dict[str, Any]:
    """machine, results and targets; plots and contact sheets beside them in bench-utility/."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    cohort = _cohort(data)
    folder = Path(os.environ.get("MEDVAE_BENCH_OUT", "bench-utility"))
    folder.mkdir(parents=True, exist_ok=True)
    # A quick run looks at every third test volume; its figures say only that the path works.
    test = cohort.held_out[::3] if quick else cohort.held_out
    real = features(test)
    count = LUNG_COUNT if data == "lung" else COUNT
    results = []
    sheets: dict[str, list[Gridded]] = {"real": cohort.held_out[:8]}
    for name, epsilon, seed, make in lung_rows(quick) if data == "lung" else rows(quick):
        started = time.perf_counter()
        made = make(cohort, 24 if quick else count, seed)
        made = made[:24] if quick else made
        row: dict[str, Any] = {
            "method": name,
            "epsilon": "inf" if epsilon == math.inf else epsilon,
            "seed": seed,
            "seconds": time.perf_counter() - started,
        }
        row |= measure(
            made,
            real,
            test,
            cohort.data.labels,
            seed=seed,
            iterations=40 if quick else ITERATIONS,
        )
        results.append(row)
        print(table([row], header=len(results) == 1), flush=True)
        if seed == 0:
            sheets[f"{name}, eps {row['epsilon']}"] = made[:8]
            sheet(sheets, folder / "sheet.png")
    plots(results, folder / "utility.png")
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "data": cohort.name}
    machine |= {"train": len(cohort.train), "test": len(cohort.test), "delta": methods.DELTA}
    # Forty iterations leave even real data half learnt: a gap between two such figures would
    # meet any target, so a quick run claims none.
    judge = auc_targets if data == "lung" else targets
    found = [] if quick else judge(results)
    return {"machine": machine, "results": results, "targets": found}


def _cohort(data: str) -> Cohort:
    real = os.environ.get("MEDVAE_REAL_DATA")
    folder = "ct_lung_nodule" if data == "lung" else "mri_hippocampus"
    if real and (Path(real) / folder).is_dir():
        return lung_nodule(Path(real)) if data == "lung" else hippocampus(Path(real))
    print(f"MEDVAE_REAL_DATA names no {folder}: a procedural cohort stands in")
    return procedural_nodules() if data == "lung" else procedural()


def auc_targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gap to real in AUC at epsilon 8, for each way as the mean over seeds."""
    real = results[0]["auc"]
    found = []
    for method in ("atlas alone", "full pipeline"):
        seen = [r["auc"] for r in results if r["method"] == method and r["epsilon"] == 8.0]
        gap = real - sum(seen) / len(seen) if seen else None
        name = f"lung nodules: gap to real in AUC of malignancy at epsilon 8, {method}"
        met = gap is not None and gap <= AUC_GAP
        found.append({"name": name, "value": gap, "target": f"<= {AUC_GAP}", "met": met})
    return found


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gaps to real in Dice, for the best of atlas and pipeline as the mean over seeds."""
    real = next(row["dice"] for row in results if row["method"].startswith("real, 80"))
    found = []
    for epsilon, allowed in GAPS.items():
        means = []
        for method in ("atlas alone", "full pipeline"):
            rows_of = [r for r in results if r["method"] == method and r["epsilon"] == epsilon]
            if rows_of:
                means.append(sum(r["dice"] for r in rows_of) / len(rows_of))
        gap = real - max(means) if means else None
        name = f"hippocampus: Dice gap to real at epsilon {epsilon:g}"
        met = gap is not None and gap <= allowed
        found.append({"name": name, "value": gap, "target": f"<= {allowed}", "met": met})
    return found
