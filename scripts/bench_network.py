"""What a network is worth on a large cohort of pictures, beside other private generators.

For each seed a fifth of the patients is held out. Each row is a generator of the others' pictures
under one epsilon; as many samples as there are patients train a small classifier, which is tested
on the people held out, and distances of `medvae-texture-1` compare samples with them. The row
`real` has the training patients' own pictures instead of samples. The cohort is `xray_pneumonia`
of `MEDVAE_REAL_DATA`, or another one (--cohort); without it, pictures that are made up. Targets
are those of the large cohort.

--map simulates cohorts of many sizes instead, and says what pays at which epsilon.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures import cohort, evolution, merf, over, pays, private, simulated, statistics
from pictures.cohort import Pictures
from pictures.measure import HeldOut, figures

REAL, STATISTICS, GAUSSIAN = "real", "statistics alone", "DCT mean and covariance"
MERF, SCRATCH = "DP-MERF", "VAE by DP-SGD from scratch"
DECODER = "VAE on statistics, DP decoder"
FREE = "VAE on statistics, no more"
EVOLUTION = "Private Evolution, simulator"
Method = Callable[[Pictures, float, int, int], Pictures]
METHODS: dict[str, Method] = {
    STATISTICS: statistics.cosine_model,
    GAUSSIAN: statistics.dct_gaussian,
    MERF: merf.merf,
    SCRATCH: private.scratch,
    DECODER: over.decoder_over_statistics,
    FREE: over.free_over_statistics,
    EVOLUTION: evolution.evolution,
}
# What the product does with pictures today.
PRODUCT = STATISTICS
EPSILONS = (8.0, 3.0, 1.0, math.inf)
# Points of AUC that samples may be below patients; and part of the plain Gaussian's distance.
BELOW = {8.0: 0.015, 3.0: 0.015, 1.0: 0.025}
NEARER = 0.5
QUICK_COUNT, QUICK_STEPS = 400, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only this benchmark has."""
    parser.add_argument("--epsilons", nargs="+", type=_epsilon, help="default: 8 3 1 none")
    parser.add_argument("--seeds", type=int, default=3, help="at epsilon 8; others have one")
    parser.add_argument("--all-seeds", action="store_true", help="as many at every epsilon")
    parser.add_argument(
        "--cohort",
        dest="source",
        choices=cohort.COHORTS,
        default=cohort.REAL,
        help="which patients",
    )
    parser.add_argument("--only", help="rows whose name matches this regular expression")
    parser.add_argument(
        "--develop", action="store_true", help="test on a fifth of the training part instead"
    )
    parser.add_argument(
        "--map", dest="chart", action="store_true", help="simulated cohorts of 50 to 5,000 people"
    )
    parser.add_argument("--rows", type=Path, help="with --map: keep rows here, and go on from them")


def _epsilon(text: str) -> float:
    return math.inf if text == "none" else float(text)


def main(
    quick: bool,
    epsilons: list[float] | None = None,
    seeds: int = 3,
    only: str | None = None,
    develop: bool = False,
    source: str = cohort.REAL,
    all_seeds: bool = False,
    chart: bool = False,
    rows: Path | None = None,
) -> dict[str, Any]:
    """machine, results and targets; a table on stdout."""
    torch.set_num_threads(1)
    if chart:
        return charted(quick, rows)
    name, pictures = cohort.load(QUICK_COUNT if quick else None, source)
    wanted = epsilons or list(EPSILONS[:1] if quick else EPSILONS)
    print(f"{name}: {len(pictures)} pictures{', development split' if develop else ''}")
    print(HEADER)
    results = []
    for seed in range(1 if quick else seeds):
        train, test = cohort.split(pictures, seed, develop)
        held_out = HeldOut.of(test)
        wanted_rows = [(REAL, None)] if not only or re.search(only, REAL) else []
        wanted_rows += [
            (method, epsilon)
            for epsilon in wanted
            if all_seeds or seed == 0 or epsilon == EPSILONS[0]
            for method in METHODS
            if not only or re.search(only, method)
        ]
        for method, epsilon in wanted_rows:
            results.append(row(method, epsilon, train, held_out, seed, quick))
            print(line(results[-1]), flush=True)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "cohort": name}
    judged = targets(results) if source == cohort.REAL else []
    return {"machine": machine, "results": results, "targets": judged}


def charted(quick: bool, kept: Path | None) -> dict[str, Any]:
    """The map of patients and epsilon to what pays, of simulated cohorts."""
    results = []
    for found in simulated.rows(simulated.points(quick), kept):
        results.append(found)
        print(json.dumps(found), flush=True)
    print(pays.HEADER)
    compared = pays.compared(results)
    for own in compared:
        print(pays.line(own))
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "cohort": "simulated"}
    verdicts = [
        {key: _finite(value) if isinstance(value, float) else value for key, value in own.items()}
        | {"verdict": pays.verdict(own)}
        for own in compared
    ]
    return {"machine": machine, "results": results, "map": verdicts, "targets": []}


def row(
    method: str, epsilon: float | None, train: Pictures, held_out: HeldOut, seed: int, quick: bool
) -> dict[str, Any]:
    """Figures of one method; an epsilon of None, in the outcome, is real pictures or no noise."""
    began = time.perf_counter()
    samples = train
    if epsilon is not None:
        slow = {"steps": QUICK_STEPS} if quick and method not in (STATISTICS, GAUSSIAN) else {}
        samples = METHODS[method](train, epsilon, len(train), seed, **slow)
    seconds = time.perf_counter() - began
    private = epsilon is not None and math.isfinite(epsilon)
    found = {"method": method, "epsilon": epsilon if private else None, "seed": seed}
    seen = {key: _finite(value) for key, value in figures(samples, held_out, seed).items()}
    return {**found, **seen, "patients": len(train), "seconds": round(seconds, 1)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


HEADER = f"{'row':29} {'epsilon':>7} {'seed':>4} {'AUC':>6} {'Frechet':>8}" + "".join(
    f"{word:>10}" for word in ("precision", "recall", "coverage", "seconds")
)


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    none = "-" if result["method"] == REAL else "none"
    epsilon = none if result["epsilon"] is None else f"{result['epsilon']:g}"
    cells = [result[key] for key in ("auc", "frechet", "precision", "recall", "coverage")]
    auc, frechet, *rest = ["-" if one is None else f"{one:.3f}" for one in cells]
    start = f"{result['method']:29} {epsilon:>7} {result['seed']:>4} {auc:>6} {frechet:>8}"
    return start + "".join(f"{one:>10}" for one in (*rest, result["seconds"]))


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the large cohort: use beside real pictures; distance and recall beside the Gaussian."""
    found = []
    for epsilon, below in BELOW.items():
        real, product = mean(results, REAL, None, "auc"), mean(results, PRODUCT, epsilon, "auc")
        gap = None if real is None or product is None else real - product
        found.append(_target(f"AUC below real at epsilon {epsilon:g}", gap, below))
    epsilon = EPSILONS[0]
    pairs = {
        key: [mean(results, name, epsilon, key) for name in (PRODUCT, GAUSSIAN)]
        for key in ("frechet", "recall")
    }
    (distance, other), (recall, least) = pairs["frechet"], pairs["recall"]
    ratio = distance / other if distance is not None and other else None
    found.append(_target("Frechet distance over the plain Gaussian's", ratio, NEARER))
    lost = None if recall is None or least is None else least - recall
    found.append(_target("recall below the plain Gaussian's", lost, 0.0))
    return found


def mean(
    results: list[dict[str, Any]], method: str, epsilon: float | None, key: str
) -> float | None:
    """Over the seeds that were run; None where none was."""
    values = [
        one[key]
        for one in results
        if (one["method"], one["epsilon"]) == (method, epsilon) and one[key] is not None
    ]
    return float(np.mean(values)) if values else None


def _target(name: str, value: float | None, limit: float) -> dict[str, Any]:
    met = value is not None and value <= limit
    return {"name": name, "value": value, "target": f"<= {limit:g}", "met": met}
