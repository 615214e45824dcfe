"""Pages of docs/benchmarks whose tables are made by a benchmark (`scripts/bench NAME --docs`)."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

PAGES = Path(__file__).parent.parent / "docs" / "benchmarks"
END = "<!-- end -->"


def system() -> str:
    """Kernel and processor, without what names one machine: such as Linux 6.18 (x86_64)."""
    release = ".".join(platform.release().split(".")[:2])
    return f"{platform.system()} {release} ({platform.machine()})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in lines)


def page(text: str, name: str, note: str) -> str:
    """The page with `note` in the place of what benchmark `name` had put there.

    Raises:
        ValueError: the page has not the two lines between which that is.
    """
    begin = f"<!-- made by scripts/bench {name} --docs -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"the page has no lines {begin} and {END}")
    return f"{before}{begin}\n{note}\n{END}{after}"


def write(name: str, note: str) -> None:
    """Put it into docs/benchmarks/NAME.md."""
    path = PAGES / f"{name}.md"
    path.write_text(page(path.read_text(encoding="utf-8"), name, note), encoding="utf-8")
