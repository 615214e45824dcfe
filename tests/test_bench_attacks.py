"""The benchmark of attacks: that all of them are held, and that one that is not shows."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_attacks  # noqa: E402


def test_every_attack_is_held(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = bench_attacks.main(quick=True)
    assert {"machine", "results", "targets"} == set(outcome)
    missed = [one for one in outcome["results"] if not one["held"]]
    assert missed == []
    assert all(target["met"] for target in outcome["targets"])
    assert "a release changed or forged" in capsys.readouterr().out


def test_an_answer_that_is_not_the_truth_is_silent(tmp_path: Path) -> None:
    scene = bench_attacks.Scene.make(tmp_path)
    scene.prepare()
    nothing = scene.trial(lambda vault, chance: None, random.Random(0))
    assert nothing == "no effect"
    scene.expected = None  # whatever is read now is not what was stored
    assert scene.trial(lambda vault, chance: None, random.Random(0)) == "silent"


@pytest.mark.parametrize(
    ("seen", "expected", "held"),
    [
        (Counter(found=3, silent=1), "found", False),
        (Counter(found=3, defect=1), "found", False),
        (Counter({"no effect": 3}), "found", False),  # an attack that does nothing proves nothing
        (Counter({"no effect": 3, "found": 1}), "found", True),
        (Counter(silent=2), "silent", True),
    ],
)
def test_held_needs_evidence(seen: Counter[str], expected: str, held: bool) -> None:
    assert bench_attacks.row("x", expected, seen)["held"] is held
