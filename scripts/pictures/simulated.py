"""Rows of the map of patients and epsilon to what pays, on simulated cohorts.

Everybody of a world is simulated: figures may be looked at, and rules chosen by them, at no cost of
privacy. Each row trains a classifier on draws and tests it on other people of its world; it is
kept as soon as it is done.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import bench_images
import numpy as np

from pictures.candidates import ALL, CANDIDATES, SLOW
from pictures.cohort import Pictures
from pictures.measure import HeldOut, distances
from pictures.worlds import KINDS, World

REAL: Final = "real"
PATIENTS: Final = (50, 200, 1000, 5000)
EPSILONS: Final = (8.0, 1.0, 3.0)
# Draws of a row, people that it is tested on, and how many of both distances are between.
COUNT, FEATURES = 600, 300
# (edge, number) of the worlds of each kind.
WORLDS: Final = ((16, 0), (32, 0))
# What every world has; the others are of small pictures alone, and networks at these points alone.
EVERYWHERE: Final = (ALL, "plain Gaussian")
COUNTS: Final = ("few coefficients", "more means")
NETWORK_POINTS: Final = ((1000, 8.0), (5000, 8.0))
# People of a world who train, and who test.
PARTS: Final = (max(PATIENTS), COUNT)


class Point(NamedTuple):
    """What a row is of; real people have no epsilon."""

    world: World
    method: str
    patients: int
    epsilon: float | None

    def described(self) -> dict[str, Any]:
        """As a row has it."""
        world = {"kind": self.world.kind, "edge": self.world.edge, "seed": self.world.seed}
        own = {"method": self.method, "patients": self.patients, "epsilon": self.epsilon}
        return world | own


def points(quick: bool) -> list[Point]:
    """A quick run has a world, one number of patients and two methods."""
    if quick:
        world = World("organs", *WORLDS[0])
        return [Point(world, REAL, PATIENTS[1], None)] + [
            Point(world, method, PATIENTS[1], EPSILONS[0]) for method in (ALL, "plain Gaussian")
        ]
    worlds = [World(kind, *own) for own in WORLDS for kind in KINDS]
    small = worlds[: len(KINDS)]
    others = [one for one in CANDIDATES if one not in (*EVERYWHERE, *COUNTS, *SLOW)]
    return [
        *(Point(world, REAL, patients, None) for world in worlds for patients in PATIENTS),
        *_each(small, EVERYWHERE),
        *_each(small, COUNTS),
        *_each(worlds[len(KINDS) :], EVERYWHERE),
        *(Point(world, one, *at) for at in NETWORK_POINTS for world in small for one in SLOW),
        *_each(small, others),
    ]


def _each(worlds: Sequence[World], methods: Sequence[str]) -> Iterator[Point]:
    for epsilon in EPSILONS:
        for patients in PATIENTS:
            for world in worlds:
                yield from (Point(world, method, patients, epsilon) for method in methods)


def rows(wanted: Sequence[Point], kept: Path | None) -> Iterator[dict[str, Any]]:
    """A row for each point: as `kept`, a file of JSON lines, has it, or made and added to it."""
    done = _read(kept)
    people: dict[World, tuple[Pictures, HeldOut, Pictures]] = {}
    for point in wanted:
        name = json.dumps(point.described())
        if name not in done:
            if point.world not in people:
                train, test = (point.world.people(n, part) for part, n in enumerate(PARTS))
                few = HeldOut.of(test.part(np.arange(FEATURES)))
                people[point.world] = train, few, test
            done[name] = _row(point, *people[point.world])
            if kept is not None:
                _add(kept, done[name])
        yield done[name]


def _row(point: Point, train: Pictures, held_out: HeldOut, test: Pictures) -> dict[str, Any]:
    began, samples = time.perf_counter(), train.part(np.arange(point.patients))
    seed = point.world.seed
    if point.epsilon is not None:
        samples = CANDIDATES[point.method](samples, point.epsilon, COUNT, seed)
    seen: dict[str, float | None] = {"auc": None}
    # There may be none of a class among few people, and nothing to learn then.
    if len(np.unique(samples.classes)) > 1:
        own = samples.images, samples.classes
        seen["auc"] = bench_images.auc(*own, test.images, test.classes, seed)
    first = samples.part(np.arange(min(FEATURES, len(samples))))
    seen |= distances(first, held_out)
    return point.described() | seen | {"seconds": round(time.perf_counter() - began, 1)}


def _read(kept: Path | None) -> dict[str, dict[str, Any]]:
    if kept is None or not kept.exists():
        return {}
    found = {}
    for line in kept.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            # A stop has cut the last line: its row is made again.
            continue
        names = ("kind", "edge", "seed", "method", "patients", "epsilon")
        found[json.dumps({name: row[name] for name in names})] = row
    return found


def _add(kept: Path, row: dict[str, Any]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
