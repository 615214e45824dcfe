"""Files of statistics as damage and liars make them, and what must be said of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from medvae.privacy import Plan, epsilon
from medvae.train import statistics as stage
from medvae.vault import verify_signature
from tests.release.made import Key


def resigned(
    data: bytes, arrays: dict[str, Any] | None = None, own: bool = False, **statement: Any
) -> bytes:
    """The file with other arrays or another statement, signed anew by somebody."""
    read = stage.read(data, verify_signature)
    values = dict(read.arrays) | (arrays or {})
    said = read.statement.model_dump(mode="json") | {"arrays": stage.digest_of(values)} | statement
    # As a liar writes: nothing of it is checked here.
    text = stage.Statement.model_construct(**said)
    key = Key(9)
    return stage.write(text, values, key.sign, key.public)


def other_plan(text: str, **changes: Any) -> str:
    plan = json.loads(text)
    for path, value in changes.items():
        place = plan
        *folders, last = path.split("__")
        for folder in folders:
            place = place[int(folder)] if isinstance(place, list) else place[folder]
        place[last] = value
    return json.dumps(plan)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def lying(data: bytes, length: float) -> bytes:
    """A mean place of that length in the released vector."""
    read = stage.read(data, verify_signature)
    name = "released.anatomy-means"
    values = np.array(read.arrays[name])
    values[:12] += length
    return resigned(data, {name: values})


def plan_of(data: bytes) -> str:
    return stage.read(data, verify_signature).statement.plan


def of_large_delta(data: bytes) -> bytes:
    """The same mechanisms, at a delta that no tenant has."""
    plan = Plan.from_json(plan_of(data))
    cost = epsilon(plan.mechanisms, 0.01)
    return resigned(data, plan=other_plan(plan_of(data), delta=0.01, epsilon=cost))


Wrong = Callable[[bytes], bytes]
WRONG: dict[str, tuple[Wrong, int, str]] = {
    "empty": (lambda data: b"", 3, "no export"),
    "no export": (lambda data: b"hello" * 1000, 3, "no export"),
    "cut short": (lambda data: data[:-100], 4, "cut short"),
    "cut to its head": (lambda data: data[:300], 3, "no export"),
    "one bit of a number": (lambda data: flipped(data, len(data) - 50), 4, "than were signed"),
    "one bit of the statement": (
        lambda data: flipped(data, data.index(b"debited")),
        4,
        "after it was signed",
    ),
    "deeply nested": (
        lambda data: (20000).to_bytes(8, "little") + b"[" * 20000,
        3,
        "no export",
    ),
    "not finite": (
        lambda data: resigned(data, {"released.anatomy-spreads": np.full(40, np.nan)}),
        3,
        "not finite",
    ),
    "beyond its clip": (lambda data: lying(data, 50.0), 3, "clip and noise allow"),
    "a vector too short": (
        lambda data: resigned(data, {"released.anatomy-spreads": np.zeros(3)}),
        3,
        "of no anatomy model",
    ),
    "an array too many": (
        lambda data: resigned(data, {"released.more": np.zeros(3)}),
        2,
        "another version",
    ),
    "other public numbers": (
        lambda data: resigned(data, {"centre.place": np.zeros(12)}),
        2,
        "other public numbers",
    ),
    "another version": (
        lambda data: resigned(data, {"made.shape_share": np.array(0.22)}),
        2,
        "another version",
    ),
    "no debit": (lambda data: resigned(data, debited=False), 3, "debited"),
    "a name that is structure": (lambda data: resigned(data, tenant="a|b\n"), 3, "tenant"),
    "a plan that costs more": (
        lambda data: resigned(data, plan=other_plan(plan_of(data), epsilon=1.0)),
        4,
        "mechanisms cost",
    ),
    "a plan above its target": (
        lambda data: resigned(
            data, plan=other_plan(plan_of(data), constants__privacy__epsilon=2.0)
        ),
        6,
        "above the target of its plan",
    ),
    "a plan above its hospital's limit": (
        lambda data: resigned(data, limit=3.0),
        6,
        "above its limit",
    ),
    "a plan at a large delta": (of_large_delta, 6, "above 1e-05"),
    "a plan of many steps": (
        lambda data: resigned(data, plan=other_plan(plan_of(data), mechanisms__0__steps=10**9)),
        3,
        "every patient once",
    ),
    "another entry": (
        lambda data: resigned(
            data, plan=other_plan(plan_of(data), constants__anatomy__digest="0" * 64)
        ),
        2,
        "anatomy.digest",
    ),
    "another grid": (
        lambda data: resigned(
            data, plan=other_plan(plan_of(data), constants__data__size=[16, 16, 16])
        ),
        2,
        "data.size",
    ),
    "other classes": (
        lambda data: resigned(data, plan=other_plan(plan_of(data), constants__data__classes=2)),
        2,
        "anatomy-classes",
    ),
    "sites": (
        lambda data: resigned(
            data, plan=other_plan(plan_of(data), constants__data__sites=["a", "b"])
        ),
        2,
        "has sites",
    ),
    "channels": (
        lambda data: resigned(
            data, plan=other_plan(plan_of(data), constants__data__channels=["t1", "t2"])
        ),
        2,
        "has channels",
    ),
    "maps of patients": (
        lambda data: resigned(
            data, plan=other_plan(plan_of(data), constants__anatomy__library="patients")
        ),
        2,
        "no anatomy of public people",
    ),
    "a format of weak noise": (lambda data: resigned(data, artifact=1), 2, "does not protect"),
}
