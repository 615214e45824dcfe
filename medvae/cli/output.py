"""What a verb shows: one JSON object, or lines and tables for a person."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from medvae.cli.settings import settings
from medvae.escape import escaped

if TYPE_CHECKING:
    from medvae.api.results import Result

# Columns of a table that nobody looks at on a terminal: rows are not wrapped.
_LONGEST = 10_000


def show(result: Result | dict[str, Any], lines: Iterable[str] = ()) -> None:
    """Print the result: as JSON with --json, otherwise the lines (none with -q)."""
    if settings.json:
        values = result if isinstance(result, dict) else result.to_json()
        print(json.dumps(values, allow_nan=False))
    elif not settings.quiet:
        for line in lines:
            print(line)


def note(text: str) -> None:
    """A remark beside the result, on stderr."""
    if not settings.quiet:
        print(text, file=sys.stderr)


def objects(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The JSON objects of several results."""
    return [item.to_json() for item in results]


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of aligned columns, numbers to the right; without a line of headers where all are "".

    On a terminal long cells are wrapped to its width. Elsewhere a row is one line, whatever its
    length, which is easy to cut with other tools.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    values = [list(row) for row in rows]
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(headers))
    columns = list(zip(*values, strict=True)) or [()] * len(headers)
    for head, column in zip(headers, columns, strict=True):
        numeric = all(isinstance(value, int | float | None) for value in column)
        grid.add_column(Text(head), justify="right" if numeric else "left", overflow="fold")
    for row in values:
        # Text, and no markup: a name may hold brackets.
        grid.add_row(*(Text(_cell(value)) for value in row))
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _LONGEST
    # Without a height rich takes 80 columns wherever TERM is dumb.
    console = Console(file=io.StringIO(), width=width, height=25, force_terminal=terminal)
    with console.capture() as capture:
        console.print(grid)
    return [line.rstrip() for line in capture.get().splitlines()]


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
