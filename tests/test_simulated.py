"""The map of simulated cohorts: its rows in the package are the page's, and the nearest is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from medvae.api.expected import ROWS as MEASURED
from medvae.api.expected import expected
from medvae.api.simulated import COHORTS, KIND, ROWS, nearest
from medvae.cli.verbs.plan import _expected

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from pictures import simulated  # noqa: E402


def test_the_page_has_each_row_of_the_map() -> None:
    page = (ROOT / "docs/benchmarks/network.md").read_text(encoding="utf-8")
    for row in ROWS:
        figures = (f"{value:.2f}".lstrip("0") for value in (row.real, row.draws, row.plain))
        cells = [f"{row.patients:,}", f"{row.epsilon:g}", *figures, f"{row.distance:.2f}"]
        assert f"| {' | '.join(cells)} |" in page
    assert f"{COHORTS} worlds" in page


def test_there_is_a_row_for_each_size_and_epsilon_of_the_benchmark() -> None:
    points = {(row.patients, row.epsilon) for row in ROWS}
    assert points == {(n, e) for n in simulated.PATIENTS for e in (1.0, 3.0, 8.0)}
    assert {epsilon for _, epsilon in points} <= set(simulated.EPSILONS)
    assert len(ROWS) == len(points)


@pytest.mark.parametrize(
    ("patients", "epsilon", "row"),
    [
        (12, 0.1, (50, 1.0)),
        (90, 5.5, (50, 8.0)),
        (110, 1.5, (200, 1.0)),
        (10**6, 99.0, (5000, 8.0)),
    ],
)
def test_the_nearest_row_goes_by_ratio_in_both(
    patients: int, epsilon: float, row: tuple[int, float]
) -> None:
    found = nearest(KIND, patients, epsilon)
    assert found is not None
    assert (found.patients, found.epsilon) == row


def test_only_pictures_have_a_map() -> None:
    for kind in MEASURED:
        told = expected(kind, 100, 3.0).simulated
        assert (told is not None) == (kind == KIND)


def test_a_plan_tells_the_row_and_what_the_parts_gain() -> None:
    told = expected(KIND, 5000, 8.0)
    row = nearest(KIND, 5000, 8.0)
    assert told.simulated == row
    assert row is not None
    text = " ".join(_expected(told))
    assert "simulated cohorts of 5,000 people at epsilon 8" in text
    assert f"{row.draws - row.plain:+.2f}" in text
    assert "simulated" not in " ".join(_expected(expected("atlas", 100, 3.0)))
