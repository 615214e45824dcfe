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

import numpy as np

from pictures.candidates import ALL, CANDIDATES, SLOW
from pictures.measure import HeldOut, figures
from pictures.worlds import KINDS, World

REAL: Final = "real"
PATIENTS: Final = (50, 200, 1000, 5000)
EPSILONS: Final = (1.0, 3.0, 8.0)
# Draws of a row, and people that it is tested on.
COUNT: Final = 600
# (edge, number) of the worlds of each kind.
WORLDS: Final = ((16, 0), (32, 0), (16, 1))
# The larger pictures have these alone, networks these points alone.
ON_LARGER: Final = (ALL, "without all three", "few coefficients", "plain Gaussian")
NETWORK_POINTS: Final = ((1000, 8.0), (5000, 8.0), (5000, 1.0))


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
            Point(world, method, PATIENTS[1], EPSILONS[-1]) for method in (ALL, "plain Gaussian")
        ]
    worlds = [World(kind, *own) for own in WORLDS for kind in KINDS]
    return [*(one for world in worlds for one in _statistics(world)), *_networks(worlds[:3])]


def _statistics(world: World) -> Iterator[Point]:
    methods = [one for one in CANDIDATES if one not in SLOW]
    for patients in PATIENTS:
        yield Point(world, REAL, patients, None)
        for epsilon in EPSILONS:
            for method in methods if world.edge == WORLDS[0][0] else ON_LARGER:
                yield Point(world, method, patients, epsilon)


def _networks(worlds: Sequence[World]) -> Iterator[Point]:
    for patients, epsilon in NETWORK_POINTS:
        for world in worlds:
            yield from (Point(world, method, patients, epsilon) for method in SLOW)


def rows(wanted: Sequence[Point], kept: Path | None) -> Iterator[dict[str, Any]]:
    """A row for each point: as `kept`, a file of JSON lines, has it, or made and added to it."""
    done = _read(kept)
    people: dict[World, tuple[HeldOut, Any]] = {}
    for point in wanted:
        name = json.dumps(point.described())
        if name not in done:
            if point.world not in people:
                held_out = HeldOut.of(point.world.people(COUNT, 1))
                people = {point.world: (held_out, point.world.people(max(PATIENTS), 0))}
            done[name] = _row(point, *people[point.world])
            if kept is not None:
                _add(kept, done[name])
        yield done[name]


def _row(point: Point, held_out: HeldOut, people: Any) -> dict[str, Any]:
    began, samples = time.perf_counter(), people.part(np.arange(point.patients))
    if point.epsilon is not None:
        method = CANDIDATES[point.method]
        samples = method(samples, point.epsilon, COUNT, point.world.seed)
    found = figures(samples, held_out, point.world.seed)
    # Too few people of a class may be among the first to learn from.
    seen = {key: value if np.isfinite(value) else None for key, value in found.items()}
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
