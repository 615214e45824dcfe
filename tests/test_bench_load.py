"""The benchmark of load: that it runs, and that a verb which is not linear, or large, shows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_load  # noqa: E402
import pages  # noqa: E402


def test_all_verbs_run_at_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_load, "QUICK", (20,))
    monkeypatch.setattr(bench_load, "A_PATIENT", 1)
    outcome = bench_load.main(quick=True)
    (one,) = outcome["results"]
    assert (one["volumes"], one["patients"]) == (20, 20)
    assert {"ingest", "verify", "plan", "budget"} <= set(one["verbs"])
    assert all(used["seconds"] > 0.1 for used in one["verbs"].values())
    assert all(used["bytes"] > 20 << 20 for used in one["verbs"].values())
    page = (pages.PAGES / "load.md").read_text(encoding="utf-8")
    made = pages.page(page, "load", bench_load.made(outcome))
    assert "| `ingest` | " in made
    assert "| verb | 20 volumes |" in made


def run(volumes: int, seconds: float, size: int = 1 << 20) -> dict[str, Any]:
    return {"volumes": volumes, "verbs": {"ingest": {"seconds": seconds, "bytes": size}}}


@pytest.mark.parametrize(
    ("results", "met"),
    [
        ([run(1000, 10), run(4000, 40)], [True, True]),
        ([run(1000, 10), run(4000, 61)], [False, True]),
        ([run(1000, 10), run(4000, 160)], [False, True]),
        ([run(1000, 10), run(4000, 40, (1 << 30) + 1)], [True, False]),
    ],
)
def test_growth_and_memory_are_held_against_the_targets(
    results: list[dict[str, Any]], met: list[bool]
) -> None:
    assert [one["met"] for one in bench_load.targets(results)] == met
