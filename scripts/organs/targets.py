"""What the rows are to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from organs.rows import (
    ALL,
    ATLAS,
    DRAWN,
    IMAGES,
    NONE,
    OWN,
    OWN_DRAWN,
    OWN_IMAGES,
    PRIVATE,
    real_name,
)

Results = Sequence[dict[str, Any]]

# Largest gap to real in Dice, by cohort and epsilon.
GAPS = {"heads": {8.0: 0.06, 3.0: 0.09, 1.0: 0.11}, "heart": {8.0: 0.06, 3.0: 0.08, 1.0: 0.10}}
# Least Dice above the public people drawn.
ABOVE_PUBLIC = {"heads": 0.04, "heart": 0.0}
NO_LIBRARY_GAP = {"heart": 0.20}
# Of the hippocampus at epsilon 1, and what the atlas had at 8.
HIPPOCAMPUS = {1.0: 0.77, 8.0: 0.791}
# AUC of malignancy that the atlas had at 8.
NODULES = 0.852
# Frechet distance over that of real people.
FRECHET = {"heads": 2.0}


def targets(results: Results, cohort: str) -> list[dict[str, Any]]:
    """Name, value, target and whether it is met; of rows that were not run, not met."""
    found = []
    real = _mean(results, real_name(ALL), None)
    for epsilon, most in GAPS.get(cohort, {}).items():
        gap = _less(real, _mean(results, PRIVATE, epsilon))
        found.append(_most(f"{cohort}: Dice gap to real at epsilon {epsilon:g}", gap, most))
    for epsilon, most in {8.0: NO_LIBRARY_GAP[cohort]}.items() if cohort in NO_LIBRARY_GAP else ():
        gap = _less(real, _mean(results, NONE, epsilon))
        found.append(_most(f"{cohort}: Dice gap to real at {epsilon:g}, no library", gap, most))
    if cohort in ABOVE_PUBLIC:
        found += _above(results, cohort, PRIVATE, (IMAGES, DRAWN), ABOVE_PUBLIC[cohort])
    if cohort != "nodules":
        found += _above(results, cohort, OWN, (OWN_IMAGES, OWN_DRAWN), 0.0)
    if cohort == "hippocampus":
        for epsilon, least in HIPPOCAMPUS.items():
            best = _best(results, epsilon, "dice")
            found.append(_least(f"hippocampus: Dice at epsilon {epsilon:g}", best, least))
    if cohort == "nodules":
        best = _best(results, 8.0, "auc")
        found.append(_least("nodules: AUC of malignancy at epsilon 8", best, NODULES))
    if cohort in FRECHET:
        key = "efficientnet_frechet"
        own, other = (
            _mean(results, PRIVATE, 8.0, key),
            _mean(results, real_name(ALL), None, key),
        )
        ratio = None if own is None or other is None else own / other
        name = f"{cohort}: Frechet distance over that of real people, at 8"
        found.append(_most(name, ratio, FRECHET[cohort]))
    return found


def _above(
    results: Results, cohort: str, method: str, public: Sequence[str], least: float
) -> list[dict[str, Any]]:
    """How far each private row is above the better of the public ones."""
    known = [v for v in (_mean(results, name, 0.0) for name in public) if v is not None]
    found = []
    for epsilon in (8.0, 3.0, 1.0):
        gain = _less(_mean(results, method, epsilon), max(known, default=None))
        name = f"{cohort}: Dice above public rows, {method.partition(', ')[2]}, at {epsilon:g}"
        found.append(_least(name, gain, least))
    return found


def _mean(results: Results, method: str, epsilon: float | None, key: str = "dice") -> float | None:
    """None where no such row was run, or its volumes have no such figure (nodules no Dice)."""
    rows = [r for r in results if (r["method"], r["epsilon"]) == (method, epsilon)]
    values = [row[key] for row in rows if key in row]
    return float(np.mean(values)) if values else None


def _best(results: Results, epsilon: float, key: str) -> float | None:
    found = [_mean(results, method, epsilon, key) for method in (PRIVATE, OWN, NONE, ATLAS)]
    return max((v for v in found if v is not None), default=None)


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _most(name: str, value: float | None, most: float) -> dict[str, Any]:
    met = value is not None and value <= most
    return {"name": name, "value": value, "target": f"<= {most:g}", "met": met}


def _least(name: str, value: float | None, least: float) -> dict[str, Any]:
    met = value is not None and value >= least
    return {"name": name, "value": value, "target": f">= {least:g}", "met": met}
