"""docs/benchmarks/attacks.md: its table, from the outcome of `scripts/bench attacks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks" / "attacks.md"
BEGIN, END = "<!-- made by scripts/bench attacks --docs -->", "<!-- end -->"


def table(results: list[dict[str, Any]]) -> str:
    """One line an attack: n, what is expected, what was seen, whether it is held."""
    lines = ["| attack | n | expected | seen | held |", "|---|---|---|---|---|"]
    for one in results:
        seen = ", ".join(f"{count} {name}" for name, count in one["seen"].items())
        held = "yes" if one["held"] else "NO"
        lines.append(f"| {one['attack']} | {one['n']} | {one['expected']} | {seen} | {held} |")
    return "\n".join(lines)


def page(text: str, outcome: dict[str, Any]) -> str:
    """The page with the table of this outcome in the place of the one that it had.

    Raises:
        ValueError: the page has not the two lines between which the table is.
    """
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{PAGE} has no lines {BEGIN} and {END}")
    machine, results = outcome["machine"], outcome["results"]
    tried = sum(one["n"] for one in results)
    seen = (
        f"{tried:,} trials, seen on {machine['system']}, Python {machine['python']}, "
        f"commit {machine['commit']}, in {machine['seconds']:.0f} s."
    )
    return f"{before}{BEGIN}\n{table(results)}\n\n{seen}\n{END}{after}"


def write(outcome: dict[str, Any]) -> None:
    """Put the table into the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), outcome), encoding="utf-8")
