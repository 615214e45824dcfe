"""The benchmark of utility: rows by name, stopped and gone on with, stages at one total."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_utility  # noqa: E402
from comparison import sheet  # noqa: E402
from comparison.bench import in_order  # noqa: E402
from comparison.row import Row  # noqa: E402
from comparison.store import Store  # noqa: E402
from utility import merf, methods  # noqa: E402
from utility.cohorts import Cohort, procedural  # noqa: E402
from utility.dct import dct_gaussian, functions  # noqa: E402
from utility.report import ablation  # noqa: E402
from utility.rows import rows  # noqa: E402
from utility.scratch import scratch_vae  # noqa: E402

from medvae.grid import Gridded  # noqa: E402


class Counted:
    """Cheap rows that count how often they are made."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def rows(self, quick: bool, seeds: int, data: str) -> list[Row]:
        return [self._row("real, all patients", None, 0)] + [
            self._row("atlas alone", 8.0, seed) for seed in range(seeds)
        ]

    def _row(self, name: str, epsilon: float | None, seed: int) -> Row:
        def make(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
            self.calls.append(f"{name} {seed}")
            return cohort.first(6)

        return Row(name, epsilon, seed, make)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counted:
    counted = Counted()
    monkeypatch.setattr(bench_utility, "rows", counted.rows)
    monkeypatch.setattr(
        bench_utility, "_cohort", lambda data, fold: procedural(patients=18, fold=fold)
    )
    monkeypatch.setattr(bench_utility, "QUICK_ITERATIONS", 2)
    monkeypatch.setattr("comparison.measure._network", lambda: None)
    monkeypatch.setenv("MEDVAE_BENCH_OUT", str(tmp_path))
    return counted


def test_what_is_done_is_not_done_again(bench: Counted, tmp_path: Path) -> None:
    first = bench_utility.main(quick=True, seeds=1)["results"]
    assert bench.calls == ["real, all patients 0", "atlas alone 0"]
    # A stop while a line was written: that row is done again, the others are not.
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text(lines[0] + "\n" + lines[1][:50] + "\n")
    bench.calls.clear()
    again = bench_utility.main(quick=True, seeds=2)["results"]
    assert bench.calls == ["atlas alone 0", "atlas alone 1"]
    assert [row["dice"] for row in again[:2]] == [row["dice"] for row in first]
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    assert (tmp_path / "utility.png").stat().st_size > 10_000


def test_rows_are_chosen_by_name_and_kept_by_fold(bench: Counted) -> None:
    bench_utility.main(quick=True, seeds=2, only="atlas.*seed 1")
    assert bench.calls == ["atlas alone 1"]
    bench_utility.main(quick=True, seeds=2, only="atlas.*seed 1", fold=1)
    bench_utility.main(quick=True, seeds=2, only="atlas.*seed 1", fresh=True)
    assert bench.calls == ["atlas alone 1"] * 3
    found = bench_utility.main(quick=True, seeds=2, only="atlas.*seed 1", fold=1)
    assert bench.calls == ["atlas alone 1"] * 3
    assert [row["fold"] for row in found["results"]] == [1]


def test_folds_split_the_same_patients_otherwise() -> None:
    one, other = procedural(patients=12), procedural(patients=12, fold=1)
    assert set(one.train) | set(one.test) == set(other.train) | set(other.test)
    assert set(one.train) != set(other.train)
    assert not set(other.train) & set(other.test)
    name = next(iter(set(one.train) & set(other.train)))
    assert np.array_equal(one.train[name][0].image, other.train[name][0].image)


def test_code_that_changed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path, data="d", fold=0, quick=True)
    row = Counted().rows(True, 1, "hippocampus")[0]
    kept = store.add(row, row.described() | {"dice": 0.5}, None)
    assert store.find(row) == kept
    assert capsys.readouterr().out == ""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(kept | {"code": "older"}) + "\n")
    assert store.find(row) is not None
    assert "code has changed" in capsys.readouterr().out


@pytest.mark.parametrize("public", ["none", "mni152"])
@pytest.mark.parametrize("stages", methods.STAGES.values())
def test_stages_share_the_whole_budget(stages: tuple[str, ...], public: str) -> None:
    cohort = dataclasses.replace(procedural(patients=3), public=(public, None))
    cfg = methods.configuration(
        cohort, 8.0, **methods.shares_of(methods.whole(cohort, 8.0), stages)
    )
    assert cfg.atlas.public == public
    shares = {name: getattr(cfg, name).share for name in ("atlas", "finetune", "prior")}
    assert sum(shares.values()) == pytest.approx(1)
    assert {name for name, share in shares.items() if share > 0} == set(stages)
    names = {request[0].split(".")[0].split("-")[0] for request in methods.stage_requests(cfg, 80)}
    assert names == set(stages)


def test_the_table_of_stages_is_of_one_epsilon() -> None:
    found = [
        {"method": "atlas alone", "epsilon": 8.0, "seed": s, "dice": 0.5 + s / 10} for s in (0, 1)
    ]
    assert ablation(found) == ""
    found.append({"method": "full pipeline", "epsilon": 8.0, "seed": 0, "dice": 0.7})
    found.append({"method": "full pipeline", "epsilon": 1.0, "seed": 0, "dice": 0.1})
    lines = ablation(found).splitlines()
    assert "0.550 ± 0.071" in lines[1]
    assert "0.700" in lines[2]
    assert len(lines) == 3


def test_seeds_are_of_epsilon_eight() -> None:
    count: dict[Any, int] = {}
    for row in rows(False, 5):
        count[row.method, row.epsilon] = count.get((row.method, row.epsilon), 0) + 1
    assert count["full pipeline", 8.0] == count["atlas + VAE + prior", 8.0] == 5
    assert count["full pipeline", 1.0] == 1
    titles = [row.title for row in rows(False, 5)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("epsilon", [8.0, float("inf")])
def test_baselines_make_volumes_of_the_grid(
    epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = procedural(patients=9)
    monkeypatch.setattr(merf, "STEPS", 2)
    monkeypatch.setattr(merf, "FEATURES", 50)
    made = dct_gaussian(cohort, epsilon, 2, 0) + merf.merf(cohort, epsilon, 2, 0)
    made += scratch_vae(cohort, epsilon, 2, 0, steps=2)
    assert len(made) == 6
    for volume in made:
        assert volume.mask is not None
        assert volume.image.shape == volume.mask.shape == cohort.data.size
        assert volume.image.min() == -1.0
        assert volume.image.max() == 1.0


def test_a_covariance_is_of_what_stands_out_of_the_noise() -> None:
    assert functions(3, 0.1, 80) == 0
    assert 0 < functions(3, 0.005, 80) < functions(3, 0.0, 80)


def test_a_sheet_shows_sets_with_and_without_labels(tmp_path: Path) -> None:
    cohort = procedural(patients=6)
    bare = [Gridded(v.image, None) for v in cohort.first(2)]
    held = [("real", sheet.slices(cohort.first(4), 0)), ("bare", sheet.slices(bare, 0, -2))]
    sheet.sheet(held, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 5_000


def test_the_command_names_its_rows() -> None:
    words = [sys.executable, str(ROOT / "scripts" / "bench.py"), "utility", "--list"]
    done = subprocess.run([*words, "--only", r"\+ VAE"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "atlas + VAE, eps 8, seed 0"


def test_rows_are_told_in_the_order_of_the_table() -> None:
    methods = [row.method for row in rows(False, 1, "hippocampus")]
    done = [("full pipeline", 8.0, 1), ("older", 3.0, 0), ("atlas alone", "inf", 0)]
    done += [("full pipeline", 8.0, 0), ("atlas alone", 3.0, 0), ("real, all patients", None, 0)]
    results = [{"method": m, "epsilon": e, "seed": s} for m, e, s in done]
    found = [tuple(row.values()) for row in in_order(results, methods)]
    assert found == [done[i] for i in (5, 4, 2, 3, 0, 1)]


def test_the_gap_is_between_means_over_the_same_seeds() -> None:
    def row(method: str, epsilon: float | None, dice: float, seed: int = 0) -> dict[str, object]:
        return {"method": method, "epsilon": epsilon, "dice": dice, "seed": seed}

    results = [row("real, all patients", None, 0.85), row("real, all patients", None, 0.9, 1)]
    results += [row("atlas alone", 8.0, 0.79), row("atlas alone", 8.0, 0.87, 1)]
    results += [row("full pipeline", 8.0, 0.7), row("full pipeline", 3.0, 0.7)]
    results += [row("atlas alone", 3.0, 0.9, 2)]
    found = {one["name"].rpartition(" ")[2]: one for one in bench_utility.targets(results)}
    assert found["8"]["value"] == pytest.approx(0.045)
    assert found["8"]["met"]
    assert found["3"]["value"] == pytest.approx(0.15)
    assert not found["3"]["met"]
    assert found["1"]["value"] is None
    assert not found["1"]["met"]
