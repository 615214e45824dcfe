"""Receives what archives and scanners send (C-STORE), in anonymous memory, study by study.

A study counts as whole where its sender has released the association that sent it. One that was
aborted, cut off or ended by us leaves its studies out, unless they are sent again after it.
"""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medvae.errors import AccessError, InputError, MedvaeError
from medvae.pacs.association import check_title, require_pynetdicom
from medvae.pacs.contexts import accepted_contexts
from medvae.pacs.guard import OFFERED_PDU, OVERHEAD, Guard
from medvae.pacs.hold import Hold, Receiving
from medvae.pacs.peers import check_uid

if TYPE_CHECKING:
    from pynetdicom.association import Association

SUCCESS, NO_ROOM, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
# Each study needs two descriptors, of which a process has about a thousand.
MOST_STUDIES = 200
# Connections that are not yet, or no more, an association.
SPARE = 4
LONGEST_ASSOCIATION = 86400.0


@dataclass(frozen=True)
class Listening:
    """How to listen.

    Attributes:
        host, port: the address.
        aet: our application entity title, by which we have to be called.
        allowed: titles that may send; none: any.
        associations: most at a time.
        silence: seconds that a sender may be silent within an association.
        tls: None: without.
    """

    host: str
    port: int
    aet: str = "MEDVAE"
    allowed: tuple[str, ...] = ()
    associations: int = 8
    silence: float = 60.0
    tls: ssl.SSLContext | None = None


@dataclass
class _Study:
    receiving: Receiving
    seen: set[str] = field(default_factory=set)
    # When the newest association began that was released, and the last image of one that was not.
    released: float = 0.0
    cut: float = 0.0


class _Flight:
    """What one association has sent and is not yet kept; all of them share the room."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.size = 0

    def take(self, size: int) -> None:
        """Count bytes. Raises InputError where there is no room for them."""
        with self._listener.lock:
            self.size += size
            room = self._listener.hold.room
            if (
                sum(one.flight.size for one in self._listener.senders)
                > room + room // 32 + OVERHEAD
            ):
                # Its connection ends with this, and so does what it holds.
                self.size = 0
                raise self._listener.hold.full()


@dataclass
class _Sender:
    assoc: Association
    guard: Guard
    flight: _Flight
    studies: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)
    last: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has ended; a thread that has not been started is not over."""
        return self.assoc.ident is not None and not self.assoc.is_alive()


class Listener:
    """A storage service (SCP) that runs until `close`.

    Raises:
        UsageError: pynetdicom is missing, or a title cannot be one.
        AccessError: the address cannot be listened at.
    """

    def __init__(self, listening: Listening, hold: Hold) -> None:
        require_pynetdicom()
        for title in (listening.aet, *listening.allowed):
            check_title(title)
        self.hold = hold
        self.lock = threading.RLock()
        self.senders: list[_Sender] = []
        self.refused = 0
        self._listening = listening
        self._studies: dict[str, _Study] = {}
        self._last = time.monotonic()
        self._serve()

    def _serve(self) -> None:
        from medvae.pacs.server import GuardedServer
        from medvae.pacs.transport import GuardedEntity

        how = self._listening
        entity = GuardedEntity(how.aet, Guard("", how.silence))
        entity.supported_contexts = accepted_contexts()
        entity.require_called_aet = True
        entity.require_calling_aet = list(how.allowed)
        entity.maximum_associations = how.associations
        entity.maximum_pdu_size = OFFERED_PDU
        try:
            self._server = GuardedServer(
                entity,
                (how.host, how.port),
                self._store,
                tls=how.tls,
                room=self._has_room,
                new=self._begin,
            )
        except OSError as error:
            raise AccessError(
                f"{how.host}:{how.port} cannot be listened at ({error.strerror}): choose another "
                "--port, or --bind an address of this machine"
            ) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="pacs-listener", daemon=True
        )
        self._thread.start()

    def _has_room(self) -> bool:
        with self.lock:
            alive = sum(not one.is_over for one in self.senders)
            return alive < self._listening.associations + SPARE

    def _begin(self, assoc: Association) -> Guard:
        flight = _Flight(self)
        guard = Guard("a sender", self._listening.silence, flight, LONGEST_ASSOCIATION)
        with self.lock:
            self.senders.append(_Sender(assoc, guard, flight))
        return guard

    def _store(self, event: Any) -> int:
        """Keep one instance; the status of PS3.4 B.2.3."""
        with self.lock:
            sender = next(one for one in self.senders if one.assoc is event.assoc)
            try:
                self._keep(event, sender)
            except MedvaeError as error:
                self.refused += 1
                if isinstance(error, _NotUnderstoodError):
                    return NOT_UNDERSTOOD
                sender.guard.end(error)
                return NO_ROOM
            return SUCCESS

    def _keep(self, event: Any, sender: _Sender) -> None:
        from medvae.pacs.server import study_of

        data = event.encoded_dataset()
        sender.flight.size -= len(data)
        try:
            uid = check_uid(str(event.request.AffectedSOPInstanceUID))
            name = study_of(data)
        except MedvaeError as error:
            raise _NotUnderstoodError(str(error)) from error
        if name not in self._studies:
            if len(self._studies) == MOST_STUDIES:
                raise InputError(f"more than the {MOST_STUDIES} studies of one run were sent")
            self._studies[name] = _Study(self.hold.open())
        study = self._studies[name]
        sender.studies.add(name)
        sender.last = time.monotonic()
        # Who sends again after a failure sends what we have already.
        if uid not in study.seen:
            study.receiving.add(data)
            study.seen.add(uid)

    def poll(self) -> tuple[int, float]:
        """How many whole studies there are, and for how many seconds nobody has been sending."""
        with self.lock:
            for one in [one for one in self.senders if one.is_over]:
                self._end(one)
            if self.senders:
                self._last = time.monotonic()
            whole = sum(map(self._is_whole, self._studies))
            return whole, time.monotonic() - self._last

    def _end(self, sender: _Sender) -> None:
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
        sending = any(name in one.studies for one in self.senders)
        return study.released > study.cut and not sending

    def close(self) -> list[str]:
        """Stop; whole studies are in the hold. Gives the names of those that are not."""
        self._server.shutdown()
        self._thread.join()
        with self.lock:
            senders = list(self.senders)
        for one in senders:
            one.guard.close()
            if one.assoc.ident is not None:
                one.assoc.join(5)
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


class _NotUnderstoodError(MedvaeError):
    """An image that cannot be part of a study."""
