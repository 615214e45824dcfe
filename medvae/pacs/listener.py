"""Receives what archives and scanners send (C-STORE), in anonymous memory, study by study.

A study counts as whole where its sender has released the association that sent it. One that was
aborted, cut off or ended by us leaves its studies out, unless they are sent again after it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from medvae.errors import InputError
from medvae.pacs.hold import Hold, Receiving
from medvae.pacs.service import Listening, Sender, Service

# Each study needs two descriptors, of which a process has about a thousand.
MOST_STUDIES = 200


@dataclass
class _Study:
    receiving: Receiving
    seen: set[str] = field(default_factory=set)
    # When the newest association began that was released, and the last image of one that was not.
    released: float = 0.0
    cut: float = 0.0


class Listener(Service):
    """Keeps every study that is sent, until `close`. Raises as `Service`."""

    def __init__(self, listening: Listening, hold: Hold) -> None:
        self._studies: dict[str, _Study] = {}
        self._last = time.monotonic()
        super().__init__(listening, hold)

    def keep(self, study: str, uid: str, data: bytes, sender: Sender) -> None:
        """Keep one instance; an InputError ends its association."""
        if study not in self._studies:
            if len(self._studies) == MOST_STUDIES:
                raise InputError(f"more than the {MOST_STUDIES} studies of one run were sent")
            self._studies[study] = _Study(self.hold.open())
        kept_study = self._studies[study]
        sender.studies.add(study)
        sender.last = time.monotonic()
        # Who sends again after a failure sends what we have already.
        if uid not in kept_study.seen:
            kept_study.receiving.add(data)
            kept_study.seen.add(uid)

    def moved(self) -> None:
        """Nothing: each sender's own guard sees to silence."""

    def poll(self) -> tuple[int, float]:
        """How many whole studies there are, and for how many seconds nobody has been sending."""
        with self.lock:
            for sender in [sender for sender in self.senders if sender.is_over]:
                self._end(sender)
            if self.senders:
                self._last = time.monotonic()
            whole = sum(map(self._is_whole, self._studies))
            return whole, time.monotonic() - self._last

    def _end(self, sender: Sender) -> None:
        self.senders.remove(sender)
        sender.guard.close()
        self._last = time.monotonic()
        for name in sender.studies:
            study = self._studies[name]
            if sender.assoc.is_released:
                study.released = max(study.released, sender.began)
            else:
                study.cut = max(study.cut, sender.last)

    def _is_whole(self, name: str) -> bool:
        study = self._studies[name]
        sending = any(name in sender.studies for sender in self.senders)
        return study.released > study.cut and not sending

    def close(self) -> list[str]:
        """Stop; whole studies are in the hold. Gives the names of those that are not."""
        self.stop()
        with self.lock:
            self.poll()
            left = [name for name in self._studies if not self._is_whole(name)]
            for name, study in self._studies.items():
                if name not in left and study.receiving.count:
                    self.hold.keep(study.receiving, name)
                else:
                    study.receiving.drop()
            self._studies.clear()
        return left
