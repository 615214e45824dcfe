"""The reader's side of the process that workers are copies of: start, load, copy, end.

It can be started before it is known what will be read, or by whom: until then it loads what every
reader needs. Nothing of anybody's ever reaches it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from medvae.errors import MedvaeError
from medvae.ingest import wire
from medvae.ingest.environment import environment

NOT_STARTED = "the process that reads scans cannot be started: install medvae again"
# What ends a worker gets that long to say how it ended.
END_SECONDS = 10.0
# It kills the worker itself, which takes the longer the more memory that has.
STOP_SECONDS = 2.0


class First:
    """A first process (not for use by two threads at a time, but for `kill`)."""

    def __init__(self) -> None:
        """Start it; returns at once. Raises MedvaeError where it cannot be."""
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                    [sys.executable, "-P", "-m", "medvae.ingest.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # parsers print what they read
                    pass_fds=[theirs.fileno()],
                    env=environment(),
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                self._control.close()
                raise MedvaeError(NOT_STARTED) from error

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def load(self, kinds: list[str], memory: int) -> None:
        """Say what its copies must be able to do, and how much memory each may use."""
        with contextlib.suppress(OSError):  # one that is gone: noticed by whoever waits for a copy
            wire.send(self._control, {"kinds": kinds, "memory": memory})

    def fork(self) -> socket.socket:
        """Have it make a copy of itself; our end of the copy's socket."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.suppress(OSError):
            wire.send_files(self._control, {"fork": True}, [theirs.fileno()])
        return ours

    def drop(self) -> None:
        """Have it end its oldest copy."""
        with contextlib.suppress(OSError):
            wire.send(self._control, {"drop": True})

    def end(self, grace: float) -> int:
        """End its oldest copy after `grace` seconds; the exit code, or minus the signal.

        Raises:
            ClosedError, OSError: the process is gone, or does not answer.
        """
        wire.send(self._control, {"end": grace})
        ended, _ = wire.receive(self._control, 0, time.monotonic() + END_SECONDS)
        try:
            return int(ended["status"])
        except KeyError as error:
            raise wire.ClosedError from error

    def kill(self) -> None:
        """Kill it and all of its copies: they share its group, and cannot leave it."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait()

    def stop(self, *, gently: bool = False) -> None:
        """End it; `gently` waits a while, so that time and memory count as its parent's."""
        self._control.close()
        if gently:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=STOP_SECONDS)
        self.kill()
        self.wait()


@contextmanager
def started() -> Iterator[First]:
    """A first process that gets ready meanwhile, for `ReadRequest.first`.

    Raises:
        MedvaeError: it cannot be started.
    """
    first = First()
    try:
        yield first
    finally:
        first.stop()
