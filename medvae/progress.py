"""How long work reports on itself, without knowing who listens."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """A listener to long work. The command line draws it; the default is silent."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def advance(self, done: int, note: str = "") -> None:
        """`done` steps of the stage are finished; `note` is a short figure to show."""

    def finish(self, note: str = "") -> None:
        """The stage is over."""


@runtime_checkable
class Notified(Protocol):
    """A listener that also takes sentences; one that does not hears none."""

    def notify(self, sentence: str) -> None:
        """A sentence for a person, at once, whatever stage is going on."""


def notify(listener: Progress, sentence: str) -> None:
    """Give a sentence to a listener that takes some."""
    if isinstance(listener, Notified):
        listener.notify(sentence)


class Silent:
    """Listens to nothing."""

    def start(self, stage: str, total: int) -> None: ...

    def advance(self, done: int, note: str = "") -> None: ...

    def finish(self, note: str = "") -> None: ...


SILENT: Progress = Silent()
