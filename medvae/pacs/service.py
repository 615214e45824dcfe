"""What receives images by C-STORE: a server, its senders, and the room that they share.

What becomes of an image is a subclass's concern: `listener` keeps whatever studies are sent,
`destination` the one that is being fetched by C-MOVE.
"""

from __future__ import annotations

import ssl
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medvae.errors import AccessError, MedvaeError
from medvae.pacs.association import check_title, require_pynetdicom
from medvae.pacs.contexts import accepted_contexts
from medvae.pacs.guard import OFFERED_PDU, OVERHEAD, Guard
from medvae.pacs.hold import Hold
from medvae.pacs.peers import check_uid

if TYPE_CHECKING:
    from pynetdicom.association import Association

SUCCESS, NO_ROOM, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
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
        option: the option that chose the port, for messages.
    """

    host: str
    port: int
    aet: str = "MEDVAE"
    allowed: tuple[str, ...] = ()
    associations: int = 8
    silence: float = 60.0
    tls: ssl.SSLContext | None = None
    option: str = "--port"


class Flight:
    """What one association has sent and is not yet kept; all of them share the room."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.size = 0

    def take(self, size: int) -> None:
        """Count bytes. Raises InputError where there is no room for them."""
        self._service.moved()
        with self._service.lock:
            self.size += size
            room = self._service.hold.room
            if (
                sum(sender.flight.size for sender in self._service.senders)
                > room + room // 32 + OVERHEAD
            ):
                # Its connection ends with this, and so does what it holds.
                self.size = 0
                error = self._service.hold.full()
                self._service.failed(error)
                raise error


@dataclass
class Sender:
    """An association of somebody who sends.

    Attributes:
        studies: the UIDs of those that it has sent images of.
        began, last: when it began, and when its last image was kept (monotonic clock).
    """

    assoc: Association
    guard: Guard
    flight: Flight
    studies: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)
    last: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has ended; a thread that has not been started is not over."""
        return self.assoc.ident is not None and not self.assoc.is_alive()


class NotUnderstoodError(MedvaeError):
    """An image that cannot be part of a study."""


class Service(ABC):
    """A storage service (SCP) that runs until `stop`.

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
        self.senders: list[Sender] = []
        self.refused = 0
        self._listening = listening
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
                f"{how.option}, or --bind an address of this machine"
            ) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="pacs-service", daemon=True
        )
        self._thread.start()

    def _has_room(self) -> bool:
        with self.lock:
            alive = sum(not sender.is_over for sender in self.senders)
            return alive < self._listening.associations + SPARE

    def _begin(self, assoc: Association) -> Guard:
        flight = Flight(self)
        guard = Guard("a sender", self._listening.silence, flight, LONGEST_ASSOCIATION)
        with self.lock:
            self.senders.append(Sender(assoc, guard, flight))
        return guard

    def _store(self, event: Any) -> int:
        """Keep one instance; the status of PS3.4 B.2.3."""
        with self.lock:
            sender = next(candidate for candidate in self.senders if candidate.assoc is event.assoc)
            try:
                self._receive(event, sender)
            except MedvaeError as error:
                self.failed(error)
                if isinstance(error, NotUnderstoodError):
                    return NOT_UNDERSTOOD
                sender.guard.end(error)
                return NO_ROOM
            return SUCCESS

    def _receive(self, event: Any, sender: Sender) -> None:
        from medvae.pacs.server import study_of

        data = event.encoded_dataset()
        sender.flight.size -= len(data)
        try:
            uid = check_uid(str(event.request.AffectedSOPInstanceUID))
            study = study_of(data)
        except MedvaeError as error:
            raise NotUnderstoodError(str(error)) from error
        self.keep(study, uid, data, sender)

    @abstractmethod
    def keep(self, study: str, uid: str, data: bytes, sender: Sender) -> None:
        """Keep one instance `uid` of a study, a DICOM file; called with `lock`.

        Raises:
            NotUnderstoodError: the image is refused, and its sender may go on.
            MedvaeError: the image is refused, and its association ended.
        """

    @abstractmethod
    def moved(self) -> None:
        """Called for whatever comes in."""

    def failed(self, error: MedvaeError) -> None:
        """Called for each image that is refused or has no room, with `lock`."""
        self.refused += 1

    def stop(self) -> None:
        """Accept and receive nothing any more."""
        self._server.shutdown()
        self._thread.join()
        with self.lock:
            senders = list(self.senders)
        for sender in senders:
            sender.guard.close()
            if sender.assoc.ident is not None:
                sender.assoc.join(5)
