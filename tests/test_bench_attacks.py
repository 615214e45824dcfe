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
import pages  # noqa: E402


@pytest.mark.parametrize("part", bench_attacks.PARTS)
def test_every_attack_is_held(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = bench_attacks.main(quick=True, only=part)
    assert {"machine", "results", "targets"} == set(outcome)
    missed = [one for one in outcome["results"] if not one["held"]]
    assert missed == []
    assert all(target["met"] for target in outcome["targets"])
    said = capsys.readouterr()
    assert "strace is missing" in said.err or outcome["results"]
    for one in outcome["results"]:
        assert one["attack"] in said.out


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
        (Counter(found=2), "silent", False),
        (Counter({"no effect": 2, "lost": 1}), "no effect", False),
        (Counter({"no effect": 2, "found": 1}), "no effect", True),
        (Counter(found=2), "no effect", False),
        (Counter(), "found", False),  # nothing was tried
    ],
)
def test_held_needs_evidence(seen: Counter[str], expected: str, held: bool) -> None:
    assert bench_attacks.row("x", expected, seen)["held"] is held


def test_the_page_has_the_table_of_a_run_and_nothing_that_is_not_held() -> None:
    text = (pages.PAGES / "attacks.md").read_text(encoding="utf-8")
    outcome = {
        "machine": {"system": "s", "python": "3", "commit": "c", "seconds": 1.0},
        "results": [bench_attacks.row("an attack", "found", Counter(found=1234))],
    }
    body = bench_attacks.made(outcome)
    made = pages.page(text, "attacks", body)
    assert "| an attack | 1234 | found | 1234 found | yes |" in made
    assert "1,234 trials" in made
    assert made.count("| attack |") == 1
    assert pages.page(made, "attacks", body) == made
    assert "| NO |" not in text
    for title in bench_attacks.ROLLBACKS:
        assert f"- {title}" in text
        assert f"| {title}, with an anchor |" in text
    with pytest.raises(ValueError, match="no lines"):
        pages.page("# Attacks", "attacks", body)
