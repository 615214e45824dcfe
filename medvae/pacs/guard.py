"""What bounds one DIMSE association: silence, time and bytes. The first problem ends it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

from medvae.errors import AccessError, InputError, MedvaeError
from medvae.pacs.http import LONGEST

# Bytes of the lists that a search may give.
MOST_LISTED = 64 << 20
# What messages add to the data of the instances in them, beside a thirty-second of these.
OVERHEAD = 1 << 22
# Protocol data units that we offer to receive, and the most that one may have in spite of it:
# the proposal of an association lists every class that a peer can store.
OFFERED_PDU = 1 << 17
MOST_PDU = 1 << 20
# The command of a message; the data that go with it are counted by the bytes of the association.
MOST_COMMAND = 1 << 14


class Taking(Protocol):
    """What counts bytes."""

    def take(self, size: int) -> None:
        """Count bytes. Raises MedvaeError where they are too many."""


class Allowance:
    """Bytes that one peer may send. Raises `full()` for one byte more.

    Args:
        most: None: `MOST_LISTED`.
    """

    def __init__(self, most: int | None, full: Callable[[], MedvaeError]) -> None:
        self._left = MOST_LISTED if most is None else most
        self._full = full

    def take(self, size: int) -> None:
        """Count bytes. Raises MedvaeError where they are too many."""
        self._left -= size
        if self._left < 0:
            raise self._full()


class Guard:
    """Watches one association and closes its connection where a bound is passed.

    Args:
        label: what to call the peer in messages.
        silence: seconds that it may be silent; the association may last `longest` times that.
        allowance: of bytes; None: `MOST_LISTED` of them.
    """

    def __init__(
        self,
        label: str,
        silence: float,
        allowance: Taking | None = None,
        longest: float | None = None,
    ) -> None:
        self.label = label
        self.silence = silence
        self.problem: MedvaeError | None = None
        self._allowance = allowance or Allowance(None, self._too_much)
        self._longest = LONGEST * silence if longest is None else longest
        self._sock: socket.socket | None = None
        self._wake: Callable[[], None] = lambda: None
        self._over = threading.Event()
        self._last = self._began = time.monotonic()

    def _too_much(self) -> InputError:
        return InputError(f"{self.label} sends more than the {MOST_LISTED} bytes allowed")

    def begin(self, sock: socket.socket, wake: Callable[[], None]) -> None:
        """Watch this connection from now on; `wake` wakes who waits for a message of it."""
        self._sock, self._wake = sock, wake
        self._last = self._began = time.monotonic()
        threading.Thread(target=self._watch, name="pacs-guard", daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(min(0.2, self.silence / 4)):
            now = time.monotonic()
            if now - self._last > self.silence:
                self.end(
                    AccessError(
                        f"{self.label} was silent for {self.silence:g} seconds: check that it "
                        "runs, or raise --timeout"
                    )
                )
            elif now - self._began > self._longest:
                self.end(
                    AccessError(
                        f"{self.label} did not end its answer in {self._longest:g} seconds: "
                        "fetch less at a time, or raise --timeout"
                    )
                )

    def touch(self) -> None:
        """Note that the connection moves."""
        self._last = time.monotonic()

    def count(self, received: int) -> None:
        """Count what was received. Raises OSError where the association has to end."""
        self.touch()
        try:
            self._allowance.take(received)
        except MedvaeError as error:
            self.end(error)
        if self.problem is not None:
            raise OSError(str(self.problem))

    def end(self, problem: MedvaeError) -> None:
        """Close the connection; `problem` is why, unless another came first."""
        if self.problem is None:
            self.problem = problem
        self.close()
        self._wake()

    def close(self) -> None:
        """Close the connection and stop watching it."""
        self._over.set()
        if self._sock is not None:
            with contextlib.suppress(OSError):  # closed already, which is what we want
                # Not the method of a TLS socket, which would take the other thread's TLS away.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
