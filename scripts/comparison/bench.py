"""Makes and measures rows, one after another; what is done is kept and not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from comparison.measure import features, measure
from comparison.row import Row
from comparison.sheet import Slices
from comparison.store import Store
from comparison.table import table
from medvae.grid import Gridded

Item = TypeVar("Item")

SHOWN = 8


@dataclass(frozen=True)
class Bench:
    """What rows of one cohort are measured against, and where they are kept.

    Attributes:
        held_out: volumes of people that nothing is learnt from.
        labels: how many the volumes have.
        count: how many volumes a row is to make; of a quick run, the most that are learnt from.
        iterations: of the network that is trained on them.
        compared: how many of a row's volumes are compared in distances.
        show: what a contact sheet shows of a row's first volumes.
    """

    store: Store
    held_out: Sequence[Gridded]
    labels: int
    count: int
    iterations: int
    compared: int
    show: Callable[[Sequence[Gridded]], Slices]
    quick: bool = False

    def run(self, rows: Sequence[Row], cohort: object) -> None:
        """Find or make every row, and print its line of the table."""
        for number, row in enumerate(rows):
            found = self.store.find(row) or self._do(row, cohort)
            print(table([found], header=number == 0), flush=True)

    @cached_property
    def _real(self) -> dict[str, np.ndarray]:
        return features(self.held_out)

    def _do(self, row: Row, cohort: object) -> dict[str, Any]:
        started = time.perf_counter()
        made = row.make(cohort, self.count, row.seed)
        made = made[: self.count] if self.quick else made
        found = row.described() | {"seconds": round(time.perf_counter() - started, 1)}
        found |= measure(
            made,
            self._real,
            self.held_out,
            self.labels,
            seed=row.seed,
            iterations=self.iterations,
            compared=self.compared,
        )
        # Real volumes are the sheet's first line already.
        shown = self.show(made[:SHOWN]) if row.seed == 0 and row.epsilon is not None else None
        return self.store.add(row, found, shown)


def in_order(results: list[dict[str, Any]], methods: list[str]) -> list[dict[str, Any]]:
    """By method, epsilon and seed, whenever they were done; methods that are no more come last."""

    def place(row: dict[str, Any]) -> tuple[int, float, int]:
        method = row["method"]
        where = methods.index(method) if method in methods else len(methods)
        return where, float(row["epsilon"] or 0.0), row["seed"]

    return sorted(results, key=place)


def split(
    items: dict[str, Item], part: float, seed: int
) -> tuple[dict[str, Item], dict[str, Item]]:
    """A part of the subjects and the others; never one in both."""
    names = sorted(items)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    count = round(part * len(order))
    return {s: items[s] for s in order[:count]}, {s: items[s] for s in order[count:]}
