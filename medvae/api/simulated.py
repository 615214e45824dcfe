"""What pays at a number of patients and an epsilon: the map of simulated cohorts.

Public: rows of docs/benchmarks/network.md, measured on people who were all simulated, so that a
rule may follow them at no cost of privacy. Pictures alone have such a map.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from medvae.api.results import Simulated

PAGE: Final = "docs/benchmarks/network.md"
# Kinds of models that the map is of.
KIND: Final = "pictures"


class Row(NamedTuple):
    """AUC of a classifier trained on draws, mean over `COHORTS`; the rest as `Simulated` has it."""

    patients: int
    epsilon: float
    draws: float
    real: float
    plain: float
    distance: float


COHORTS: Final = 6
ROWS: Final[tuple[Row, ...]] = (
    Row(50, 1.0, 0.47, 0.7, 0.52, 1.0),
    Row(50, 3.0, 0.55, 0.7, 0.56, 0.37),
    Row(50, 8.0, 0.54, 0.7, 0.58, 0.35),
    Row(200, 1.0, 0.5, 0.81, 0.57, 0.45),
    Row(200, 3.0, 0.63, 0.81, 0.63, 0.47),
    Row(200, 8.0, 0.66, 0.81, 0.68, 0.21),
    Row(1000, 1.0, 0.65, 0.9, 0.69, 0.31),
    Row(1000, 3.0, 0.74, 0.9, 0.75, 0.15),
    Row(1000, 8.0, 0.78, 0.9, 0.77, 0.1),
    Row(5000, 1.0, 0.78, 0.94, 0.79, 0.11),
    Row(5000, 3.0, 0.8, 0.94, 0.8, 0.08),
    Row(5000, 8.0, 0.82, 0.94, 0.8, 0.06),
)


def nearest(kind: str, patients: int, epsilon: float) -> Simulated | None:
    """The row that is nearest by ratio, in patients and in epsilon; None: no map of this kind."""
    if kind != KIND:
        return None
    row = min(ROWS, key=lambda one: _apart(one, patients, epsilon))
    return Simulated(
        page=PAGE,
        cohorts=COHORTS,
        patients=row.patients,
        epsilon=row.epsilon,
        draws=row.draws,
        real=row.real,
        plain=row.plain,
        distance=row.distance,
    )


def _apart(row: Row, patients: int, epsilon: float) -> float:
    return math.hypot(math.log(row.patients / patients), math.log(row.epsilon / epsilon))
