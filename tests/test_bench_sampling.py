"""The benchmark of drawing: what its clock counts, and its outcome on the smallest model."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_sampling  # noqa: E402


def test_calls_within_calls_count_once() -> None:
    clock = bench_sampling.Clock()
    inner = clock.watch(lambda: time.sleep(0.01))

    def twice() -> None:
        inner()
        inner()

    start = time.perf_counter()
    clock.watch(twice)()
    whole = time.perf_counter() - start
    within = clock.seconds
    assert 0.02 <= within <= whole
    inner()
    assert clock.seconds >= within + 0.01


def test_the_outcome_names_times_memory_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_sampling, "SIZE", (16, 16, 16))
    monkeypatch.setattr(bench_sampling, "peak", lambda path, n, device: float(path.stat().st_size))
    monkeypatch.setattr(bench_sampling.torch, "set_num_threads", lambda n: None)
    outcome = bench_sampling.main(quick=True)
    assert {"machine", "results", "targets"} == set(outcome)
    for name in ("atlas", "pipeline", "pipeline, on atlas"):
        found = outcome["results"][name]
        assert 0 < found["ms_outside"] < found["ms"]
        assert 0 < found["part_outside"] < 1
    met = {target["name"]: target["met"] for target in outcome["targets"]}
    assert met["same voxels by the same seed"]
    assert len(met) == 5
