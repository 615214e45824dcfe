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


class HeldBack:
    """Passes on to a listener what it hears, and the end of a stage when `release` is called.

    For a stage whose product can still be refused by who takes it: nobody reads "done" then.
    """

    def __init__(self, listener: Progress) -> None:
        self._listener = listener
        self._note: str | None = None

    def start(self, stage: str, total: int) -> None:
        self._listener.start(stage, total)

    def advance(self, done: int, note: str = "") -> None:
        self._listener.advance(done, note)

    def finish(self, note: str = "") -> None:
        self._note = note

    def notify(self, sentence: str) -> None:
        notify(self._listener, sentence)

    def release(self) -> None:
        """What was produced is taken: say that the stage is over, if it is."""
        if self._note is not None:
            self._listener.finish(self._note)
            self._note = None


class Silent:
    """Listens to nothing."""

    def start(self, stage: str, total: int) -> None: ...

    def advance(self, done: int, note: str = "") -> None: ...

    def finish(self, note: str = "") -> None: ...


SILENT: Progress = Silent()
