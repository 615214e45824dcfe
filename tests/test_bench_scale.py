"""The benchmark of scale: another model, a second debit or no gain is a target that was missed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_scale  # noqa: E402
import pages  # noqa: E402

KILLS = {"kills": 20, "trainings": 5, "same": 5, "one_debit": 5, "of_a_worker": 9}


def found(seconds: float = 50.0, same: bool = True, debits: int = 1, **kills: int) -> Any:
    rows = [
        {"way": "1 process", "seconds": 100.0, "same": True, "debits": 1},
        {"way": "2 processes", "seconds": seconds, "same": same, "debits": debits},
    ]
    return {"processes": rows, "load": 0.5, "kills": KILLS | kills}


@pytest.mark.parametrize(
    ("outcome", "met"),
    [
        (found(), [True, True, True]),
        (found(seconds=60.0), [False, True, True]),
        (found(same=False), [True, False, True]),
        (found(debits=2), [True, True, False]),
        (found(same=True, one_debit=4), [True, True, False]),
        (found(debits=0), [True, True, False]),
    ],
)
def test_trainings_are_held_against_the_targets(outcome: Any, met: list[bool]) -> None:
    assert [one["met"] for one in bench_scale._of_processes(outcome)] == met


def test_a_model_that_differs_after_a_kill_is_a_missed_target() -> None:
    outcome = found()
    outcome["kills"]["same"] = 4
    assert [one["met"] for one in bench_scale._of_processes(outcome)] == [True, False, True]


def test_the_page_has_a_place_for_the_table() -> None:
    page = (pages.PAGES / "scale.md").read_text(encoding="utf-8")
    made = bench_scale.made(found(same=False), {"system": "here"})
    assert "| 2 processes | 50 | ANOTHER | 1 |" in pages.page(page, "scale", made)
