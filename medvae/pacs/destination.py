"""Where an archive sends what we ask it to move (C-MOVE): our own storage service.

Whoever reaches the port may send to it, so that only images of the study that is being fetched are
kept, each once. Any other image ends the fetch: it was not asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from medvae.errors import InputError, MedvaeError
from medvae.pacs.guard import Guard
from medvae.pacs.hold import Hold, Receiving
from medvae.pacs.service import Listening, Sender, Service


@dataclass
class _Fetch:
    """The study that is being fetched; `control`: the association by which we asked for it."""

    uid: str
    receiving: Receiving
    control: Guard
    seen: set[str] = field(default_factory=set)


class Destination(Service):
    """Keeps the study that is being fetched, until `stop`. Raises as `Service`.

    Args:
        label: what to call the archive in messages.
    """

    def __init__(self, listening: Listening, hold: Hold, label: str) -> None:
        self._label = label
        self._fetch: _Fetch | None = None
        super().__init__(listening, hold)

    @contextlib.contextmanager
    def study(self, uid: str, patient: str, control: Guard) -> Iterator[Receiving]:
        """Receive a study within the block; it is kept only if that ends without an error.

        An image that is refused ends the association of `control`, whose problem says why.
        """
        with self.hold.study(uid, patient) as receiving:
            with self.lock:
                self._fetch = _Fetch(uid, receiving, control)
            try:
                yield receiving
            finally:
                with self.lock:
                    self._fetch = None
            # What came between the last answer and now was in no count.
            if control.problem is not None:
                raise control.problem

    def keep(self, study: str, uid: str, data: bytes, sender: Sender) -> None:
        """Keep one instance; an InputError ends its association."""
        self._forget()
        fetch = self._fetch
        if fetch is None:
            raise InputError(f"an image came to port {self.port} that was not asked for")
        if study != fetch.uid:
            raise InputError(
                f"{self._label}, or another sender to port {self.port}, sent an image of another "
                "study than was asked for; nothing was stored"
            )
        if uid in fetch.seen:
            raise InputError(f"{self._label} sent an image twice; nothing was stored")
        fetch.receiving.add(data)
        fetch.seen.add(uid)

    def _forget(self) -> None:
        """Associations that have ended, of which an archive may open one for each image."""
        for sender in [sender for sender in self.senders if sender.is_over]:
            self.senders.remove(sender)
            sender.guard.close()

    def moved(self) -> None:
        """The archive is not silent while it sends, though it need not report on it."""
        fetch = self._fetch
        if fetch is not None:
            fetch.control.touch()

    def failed(self, error: MedvaeError) -> None:
        """End the fetch: it would lack this image, or somebody else is sending."""
        super().failed(error)
        if self._fetch is not None:
            self._fetch.control.end(error)
