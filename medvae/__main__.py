"""`python -m medvae` is `medvae`."""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_INTERRUPTED: Final = 130
# How much later an interrupt is raised again that Python would have lost, in seconds.
_LATER: Final = 0.02


def main() -> NoReturn:
    """Run the command line; a signal while its modules are still being loaded is one line, too."""
    # Registered first, so called last.
    atexit.register(_ignore_signals)
    try:
        # Before anything is loaded: the default of SIGTERM ends a process silently.
        signal.signal(signal.SIGTERM, _as_interrupt)
        sys.unraisablehook = _raise_later
        from medvae.cli import main as command_line
    except KeyboardInterrupt:
        print("medvae: interrupted before anything was begun", file=sys.stderr)
        _leave()
    try:
        command_line()
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:
            _leave()
        raise
    except KeyboardInterrupt:
        print("medvae: interrupted; what was committed is kept", file=sys.stderr)
        _leave()


def _leave() -> NoReturn:
    """Leave with exit code 130.

    Python remembers an interrupt that came while it ran text (`dataclasses` and `namedtuple` do)
    and ends itself by SIGINT later, whoever caught it.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def _ignore_signals() -> None:
    """Ignore signals once the command is done.

    While Python shuts down, signals have the system's handlers again: one that arrived then would
    silently end a process whose work is stored, and give it the exit code of a failure.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _raise_later(unraisable: UnraisableHookArgs) -> None:
    """An interrupt within a callback that cannot raise (of a weak reference, `__del__`): again.

    Python would print a traceback, forget it and go on.
    """
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(_LATER, _thread.interrupt_main, (signal.SIGTERM,))
    again.daemon = True
    again.start()


def _as_interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
