"""What bounds one DIMSE association: silence, time and bytes. The first problem ends it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from medvae.errors import AccessError, InputError, MedvaeError
from medvae.pacs.http import LONGEST

# Bytes of the lists that a search may give.
MOST_LISTED = 64 << 20
# Protocol data units that we offer to receive, and the most that one may have in spite of it:
# the proposal of an association lists every class that a peer can store.
OFFERED_PDU = 1 << 17
MOST_PDU = 1 << 20
# The command of a message; the data that go with it are counted by the bytes of the association.
MOST_COMMAND = 1 << 14


class Guard:
    """Watches one association and closes its connection where a bound is passed.

    Args:
        label: what to call the peer in messages.
        silence: seconds that it may be silent; the association may last `LONGEST` times that.
        most: bytes that it may send; None: `MOST_LISTED`.
        full: the error of one byte more.
    """

    def __init__(
        self,
        label: str,
        silence: float,
        most: int | None = None,
        full: Callable[[], MedvaeError] | None = None,
    ) -> None:
        self.label = label
        self.silence = silence
        self.problem: MedvaeError | None = None
        self._left = most = MOST_LISTED if most is None else most
        self._full = full or (
            lambda: InputError(f"{label} sends more than the {most} bytes allowed")
        )
        self._sock: socket.socket | None = None
        self._wake: Callable[[], None] = lambda: None
        self._over = threading.Event()
        self._last = self._began = time.monotonic()

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
            elif now - self._began > LONGEST * self.silence:
                self.end(
                    AccessError(
                        f"{self.label} did not end its answer in {LONGEST * self.silence:g} "
                        "seconds: fetch less at a time, or raise --timeout"
                    )
                )

    def touch(self) -> None:
        """Note that the connection moves."""
        self._last = time.monotonic()

    def count(self, received: int) -> None:
        """Count what was received. Raises OSError where the association has to end."""
        self.touch()
        self._left -= received
        if self._left < 0:
            self.end(self._full())
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
