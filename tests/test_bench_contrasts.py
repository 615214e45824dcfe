"""The benchmark of contrasts: means over seeds, and its own vault by the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_contrasts  # noqa: E402


def test_figures_are_means_over_splits() -> None:
    def row(value: float) -> dict[str, object]:
        pairs = {"a b": {"synthetic": value, "real": 2 * value}}
        figures = {name: {"value": value, "real": value / 2} for name in bench_contrasts.FIGURES}
        figures["channel_correlation"]["pairs"] = pairs
        return {"seconds": 10 * value, **figures}

    found = bench_contrasts.summary([row(1.0), row(3.0)])
    assert found["seconds"] == pytest.approx(20.0)
    assert found["texture_frechet"] == {"value": 2.0, "real": 1.0}
    assert found["pairs"] == {"a b": {"synthetic": 2.0, "real": 4.0}}


def test_it_runs_the_command_line(tmp_path: Path) -> None:
    made = bench_contrasts.medvae(
        tmp_path, "tenant", "create", "bench", "--recovery-out", tmp_path / "spare"
    )
    assert made["tenant"] == "bench"
