"""The first process's end of a link to a process of another machine: it takes turns for it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from functools import partial

from medvae.api import relay
from medvae.errors import MedvaeError
from medvae.privacy.link import Link
from medvae.privacy.turns import Count, SharedCount
from medvae.progress import Progress, notify

_ROUNDS = 1 << 20


class Beats:
    """What a process of another machine says of itself."""

    def __init__(self) -> None:
        self._idle, self._at = 0.0, time.monotonic()

    def heard(self, idle: float) -> None:
        """idle: seconds for which it has used no processor time."""
        self._idle, self._at = idle, time.monotonic()

    def idle(self) -> float:
        """Seconds since it worked, as far as is known here."""
        return self._idle + time.monotonic() - self._at


class Watch:
    """How long it has done nothing while it was waited for: before, it may have had to wait."""

    def __init__(self, beats: Beats) -> None:
        self._beats, self._since = beats, time.monotonic()

    def idle(self) -> float:
        return min(self._beats.idle(), time.monotonic() - self._since)


class FarLink(Link):
    """A link to a process of another machine, which asks for its turns."""

    def __init__(self, sock: socket.socket, name: str, progress: Progress) -> None:
        self._count: Count | None = None
        # Held while a turn is taken, so that none is taken of a count that is closed.
        self._taking = threading.Lock()
        self._how, self._beats = "", Beats()
        told, ending = partial(notify, progress), lambda: self._how or "its connection is closed"
        super().__init__(sock, name, ending, notify=told, watch=lambda: Watch(self._beats))

    def give(self, count: SharedCount) -> None:
        """Take turns from this count for the other process.

        It must be the very one that this process takes from: a lock on its file would not hold two
        of one process apart.
        """
        self._count = count

    def handle(self, kind: bytes, body: bytes) -> bytes | None:
        """A turn that is asked for, or a beat. ValueError: neither."""
        if kind == relay.BEAT:
            self._beats.heard(relay.idle_of(body))
            return None
        if kind != relay.TURN or len(body) != 8:
            raise ValueError("no record of ours")
        (number,) = struct.unpack("<Q", body)
        if number >= _ROUNDS:
            raise ValueError("no round")
        with self._taking:
            if self._count is None:
                raise ValueError("no turn is to be had")
            return struct.pack("<Q", self._count.take(number))

    def close(self) -> None:
        """Close this end; no turn is given any more, and the count may be closed."""
        with self._taking:
            self._count = None
        super().close()

    def ended(self, how: str) -> None:
        """The other end is gone."""
        self._how = how

    def _failed(self, head: dict[str, object]) -> MedvaeError:
        """As `Link`'s; a path in it is one of the other machine, which is named."""
        error = super()._failed(head)
        named = str(error).startswith(self.name)
        return error if named else type(error)(f"{self.name}: {error}")
