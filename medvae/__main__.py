"""`python -m medvae` is `medvae`."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

_INTERRUPTED: Final = 130


def main() -> NoReturn:
    """Run the command line; a signal while its modules are still being loaded is one line, too."""
    # Registered first, so called last.
    atexit.register(_ignore_signals)
    try:
        # Before anything is loaded: the default of SIGTERM ends a process without a word.
        signal.signal(signal.SIGTERM, _as_interrupt)
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
    """The command is done: Python gives signals back to the system while it takes itself down.

    One that came then would end a process whose work is stored by the signal, without a word.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _as_interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
