"""The benchmark of scale: another model, a second debit or no gain is a target that was missed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_scale  # noqa: E402
import pages  # noqa: E402
import scale_hospitals  # noqa: E402
import scale_memory  # noqa: E402
import scale_processes  # noqa: E402
import scale_sites  # noqa: E402
import scale_training  # noqa: E402

KILLS = {"kills": 20, "trainings": 5, "same": 5, "one_debit": 5, "of_a_worker": 9}


PARTS = {"measure maps": 0.6, "measure anatomy": 0.3, scale_training.BETWEEN: 0.1}
ONE = {"way": "1 process", "seconds": 100.0, "busiest": 90.0, "same": True, "debits": 1}


def found(
    seconds: float = 50.0, busiest: float = 45.0, same: bool = True, debits: int = 1, **kills: int
) -> Any:
    two = {"way": "2 processes", "seconds": seconds, "busiest": busiest, "same": same}
    rows = [one | {"parts": PARTS} for one in (ONE, two | {"debits": debits})]
    return {"processes": rows, "load": 0.5, "ceiling": 1.9, "kills": KILLS | kills}


@pytest.mark.parametrize(
    ("outcome", "met"),
    [
        (found(), [True, True, True, True]),
        (found(seconds=60.0), [False, True, True, True]),
        (found(busiest=60.0), [True, False, True, True]),
        (found(same=False), [True, True, False, True]),
        (found(debits=2), [True, True, True, False]),
        (found(same=True, one_debit=4), [True, True, True, False]),
        (found(debits=0), [True, True, True, False]),
    ],
)
def test_trainings_are_held_against_the_targets(outcome: Any, met: list[bool]) -> None:
    assert [one["met"] for one in bench_scale._of_processes(outcome)] == met


def test_a_model_that_differs_after_a_kill_is_a_missed_target() -> None:
    outcome = found()
    outcome["kills"]["same"] = 4
    met = [one["met"] for one in bench_scale._of_processes(outcome)]
    assert met == [True, True, False, True]


def test_the_page_has_a_place_for_the_table() -> None:
    page = (pages.PAGES / "scale.md").read_text(encoding="utf-8")
    made = bench_scale.made(found(same=False), {"system": "here"})
    assert "| 2 processes | 50.0 | 45.0 | 90% | 10% | ANOTHER | 1 |" in pages.page(
        page, "scale", made
    )


def test_turns_keep_the_least_of_each_clock_and_whatever_was_wrong() -> None:
    slow = ONE | {"seconds": 120.0, "busiest": 80.0}
    assert scale_processes._better(slow, ONE) == ONE | {"busiest": 80.0}
    assert scale_processes._better(ONE, slow | {"same": False})["same"] is False
    assert scale_processes._better(slow | {"debits": 2}, ONE)["debits"] == 2


def test_a_clock_tells_stages_from_what_is_between_them() -> None:
    rows = [
        {"stage": "check volumes", "seconds": 9.0, "processor": [9.0]},
        {"stage": "measure maps", "seconds": 3.0, "processor": [2.0, 1.0]},
        {"stage": scale_training.BETWEEN, "seconds": 1.0, "processor": [0.5, 1.0]},
        {"stage": "measure anatomy", "seconds": 5.0, "processor": [4.0, 5.0]},
        {"stage": scale_training.BETWEEN, "seconds": 1.0, "processor": [0.5, 0.0]},
        {"stage": "VAE on drawn volumes", "seconds": 9.0, "processor": [9.0, 0.0]},
    ]
    told = scale_training.statistics(rows)
    assert told["seconds"] == 10.0
    assert told["processor"] == [7.0, 7.0]
    wanted = {"measure maps": 0.3, "measure anatomy": 0.5, scale_training.BETWEEN: 0.2}
    assert told["parts"] == pytest.approx(wanted)
    with pytest.raises(ValueError, match="no stage measures patients"):
        scale_training.statistics(rows[:1])


def test_memory_that_grows_with_the_cohort_is_a_missed_target() -> None:
    bounded = [
        {"kind": "cosines", "volumes": 10, "worker": 3 * 10**8},
        {"kind": "cosines", "volumes": 1010, "worker": 3 * 10**8 + 10**8},
    ]
    assert scale_memory.growth(bounded, "cosines") == 1e5
    assert [one["met"] for one in scale_memory.targets({"memory": bounded})] == [True]
    bounded[1]["worker"] = 10**9
    assert [one["met"] for one in scale_memory.targets({"memory": bounded})] == [False]


def of_sites(name: str, own: float, differing: int) -> dict[str, Any]:
    """A pair whose first site is `own` from its people, beside 10 of the pooled model."""
    distances = {"one": own, "two": 30.0, "pooled": 10.0}
    rows = [
        {"site": "one", "drawn": way, "texture": value, "efficientnet": 5.0}
        for way, value in distances.items()
    ]
    return {"pair": name, "rows": rows, "shift": {"differing": differing}}


@pytest.mark.parametrize(
    ("pair", "met"),
    [
        (of_sites("two hospitals", 9.0, 3), [False, True, True]),
        (of_sites("two hospitals", 10.0, 3), [False, False, True]),
        (of_sites("two hospitals", 9.0, 0), [False, True, False]),
        # Of a control no distance is wanted, and nothing may be said to differ.
        (of_sites("by chance", 20.0, 0), [True]),
        (of_sites("by chance", 1.0, 1), [False]),
    ],
)
def test_sites_are_held_against_the_pooled_model_and_the_report(pair: Any, met: list[bool]) -> None:
    assert [one["met"] for one in scale_sites.targets({"sites": [pair]})] == met


def test_another_scanner_changes_contrast_sharpness_and_noise() -> None:
    random = np.random.default_rng(0)
    steps = np.repeat(np.linspace(0.0, 100.0, 6), 4)[:, None, None] * np.ones((1, 24, 4))
    seen = scale_sites.other_scanner(steps.astype(np.float32), random)
    assert seen.std(axis=(1, 2)).min() > 2.0
    assert seen[9:11].mean() > steps[9:11].mean() + 10.0
    assert abs(seen[-2:].mean() - 100.0) < 5.0


@pytest.mark.parametrize(("joined", "met"), [(0.1, True), (0.3, False), (float("nan"), False)])
def test_a_joint_model_that_is_no_nearer_than_one_hospital_is_a_missed_target(
    joined: float, met: bool
) -> None:
    ways = {"one hospital alone (mean of all)": 0.2, "joined": joined, "pooled": 0.05}
    rows = [{"hospitals": 2, "way": way, "mean": mean} for way, mean in ways.items()]
    (judged,) = scale_hospitals.targets({"hospitals": rows})
    assert judged["met"] is met


def test_errors_are_of_means_and_deviations_in_public_units() -> None:
    truth = scale_hospitals.Measured(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]]))
    found = scale_hospitals.Measured(np.array([[1.0], [1.0]]), np.array([[1.0], [1.0]]))
    assert scale_hospitals.error(truth, truth) == {"mean": 0.0, "std": 0.0}
    assert scale_hospitals.error(found, truth)["mean"] == 0.0
    assert scale_hospitals.error(found, truth)["std"] == pytest.approx(0.5**0.5)
