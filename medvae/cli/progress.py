"""Progress on stderr: a bar with the time left on a terminal, a line a stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medvae.cli.output import duration
from medvae.cli.settings import settings
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


class _Bar:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: int | None = None

    def start(self, stage: str, total: int) -> None:
        if self._task is not None:
            self._bars.stop_task(self._task)  # type: ignore[arg-type]
        self._task = self._bars.add_task(stage, total=total or None, note="")

    def advance(self, done: int, note: str = "") -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=done, note=note)  # type: ignore[arg-type]

    def finish(self, note: str = "") -> None:
        if self._task is not None:
            task = self._bars.tasks[self._task]
            total = task.total or task.completed
            self._bars.update(task.id, total=total, completed=total, note=note)
        self._task = None

    def notify(self, sentence: str) -> None:
        self._bars.console.print(f"Note: {sentence}", highlight=False, markup=False)


class _Lines:
    """A line when a stage ends; for logs and pipes."""

    def __init__(self) -> None:
        self._stage = ""
        self._began = 0.0

    def start(self, stage: str, total: int) -> None:
        self._stage, self._began = stage, time.monotonic()

    def advance(self, done: int, note: str = "") -> None: ...

    def finish(self, note: str = "") -> None:
        took = duration(time.monotonic() - self._began)
        extra = f", {note}" if note else ""
        print(f"{self._stage}: done in {took}{extra}", file=sys.stderr)

    def notify(self, sentence: str) -> None:
        print(f"Note: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """A listener that fits where stderr goes."""
    if settings.quiet:
        yield SILENT
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Bar(bars)
