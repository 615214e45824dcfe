"""What pays at each point of the map: candidates beside the product, paired by world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pictures.candidates import ALL
from pictures.simulated import EPSILONS, PATIENTS, REAL

# Fixed before the map was made: a difference counts from so many standard errors over the worlds.
ERRORS: Final = 2.0
# A candidate pays where it gains so much AUC, or takes so much off the distance at no loss of AUC.
GAIN, NEARER = 0.01, 0.1

Row = dict[str, Any]


def compared(results: Sequence[Row]) -> list[Row]:
    """For each number of patients, epsilon and method: means over worlds, and beside the product.

    `auc` and `real` are means; `gain`, `error` those of the AUC less the product's; `distance` is
    the Frechet distance over the product's, a geometric mean, `distance_error` of its logarithm.
    """
    by_point = {
        (row["patients"], row["epsilon"], row["method"], _world(row)): row for row in results
    }
    found = []
    for patients in PATIENTS:
        for epsilon in sorted(EPSILONS):
            methods = dict.fromkeys(
                row["method"]
                for row in results
                if (row["patients"], row["epsilon"]) == (patients, epsilon)
            )
            for method in methods:
                own = _beside(by_point, patients, epsilon, method)
                if own is not None:
                    found.append(own)
    return found


def _beside(by_point: dict[Any, Row], patients: int, epsilon: float, method: str) -> Row | None:
    pairs = []
    for (number, budget, name, world), row in by_point.items():
        product = by_point.get((patients, epsilon, ALL, world))
        real = by_point.get((patients, None, REAL, world))
        mine = (number, budget, name) == (patients, epsilon, method)
        if mine and product and real and None not in (row["auc"], product["auc"], real["auc"]):
            pairs.append((row, product, real))
    if not pairs:
        return None
    gains = np.array([row["auc"] - product["auc"] for row, product, _ in pairs])
    far = np.log([max(row["frechet"], 1e-9) / product["frechet"] for row, product, _ in pairs])
    return {
        "patients": patients,
        "epsilon": epsilon,
        "method": method,
        "worlds": len(pairs),
        "auc": float(np.mean([row["auc"] for row, _, _ in pairs])),
        "real": float(np.mean([real["auc"] for _, _, real in pairs])),
        "gain": float(gains.mean()),
        "error": _error(gains),
        "distance": math.exp(far.mean()),
        "distance_error": _error(far),
    }


def verdict(row: Row) -> str:
    """`better`, `worse` or `even` than the product, by the rule that was fixed before."""
    gain, doubt = row["gain"], ERRORS * row["error"]
    far, unsure = math.log(row["distance"]), ERRORS * row["distance_error"]
    if gain < -max(doubt, GAIN):
        return "worse"
    if gain > max(doubt, GAIN):
        return "better"
    if far < -unsure and row["distance"] < 1.0 - NEARER:
        return "better"
    return "worse" if far > unsure and row["distance"] > 1.0 + NEARER else "even"


def line(row: Row) -> str:
    """A row of the table on a terminal."""
    start = f"{row['patients']:>8} {row['epsilon']:>7g}  {row['method']:22} {row['worlds']:>6}"
    gain = f"{row['gain']:+.3f} ({row['error']:.3f})"
    rest = f" {row['auc']:>6.3f} {row['real']:>6.3f} {gain:>15} {row['distance']:>8.2f}"
    return f"{start}{rest}  {verdict(row)}"


HEADER = (
    f"{'patients':>8} {'epsilon':>7}  {'candidate':22} {'worlds':>6} {'AUC':>6} {'real':>6} "
    f"{'beside product':>15} {'distance':>8}"
)


def _world(row: Row) -> tuple[str, int, int]:
    return row["kind"], row["edge"], row["seed"]


def _error(values: np.ndarray) -> float:
    """Standard error of a mean; of one value nothing is known."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf
