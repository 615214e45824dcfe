"""What a verb shows: one JSON object, or lines and tables for a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from medvae.cli.settings import settings
from medvae.escape import escaped

if TYPE_CHECKING:
    from medvae.api.results import Result


def show(result: Result | dict[str, Any], lines: Iterable[str] = ()) -> None:
    """Print the result: as JSON with --json, otherwise the lines (none with -q)."""
    if settings.json:
        shown = result if isinstance(result, dict) else result.to_json()
        print(json.dumps(shown, allow_nan=False))
    elif not settings.quiet:
        for line in lines:
            print(line)


def note(text: str) -> None:
    """A remark beside the result, on stderr."""
    if not settings.quiet:
        print(text, file=sys.stderr)


def objects(found: Iterable[Result]) -> list[dict[str, Any]]:
    """The JSON objects of several results."""
    return [one.to_json() for one in found]


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Columns aligned with spaces: readable, and easy to cut with other tools."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(head), *(len(row[i]) for row in cells)]) for i, head in enumerate(headers)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(headers), *cells]
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return escaped(str(value))


def plural(count: int, noun: str) -> str:
    """`1 volume`, `2 volumes`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
