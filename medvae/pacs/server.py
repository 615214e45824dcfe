"""What listens for associations, each with a guard of its own (PS3.8)."""

from __future__ import annotations

import io
import socketserver
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pynetdicom
from pydicom.filereader import read_partial
from pynetdicom import evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from medvae.errors import InputError
from medvae.pacs.guard import Guard
from medvae.pacs.peers import check_uid
from medvae.pacs.transport import GuardedSocket

if TYPE_CHECKING:
    import socket

    from pynetdicom.association import Association

STUDY_UID = 0x0020000D
# The study's UID stands behind at most so much; what is larger names no study.
HEAD = 1 << 20


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections while `room()` says that there is room for one more.

    Args:
        store: keeps what an association sends, and gives a status.
        new: makes the guard of a new association.
    """

    def __init__(
        self,
        entity: pynetdicom.AE,
        address: tuple[str, int],
        store: Callable[[Any], int],
        tls: ssl.SSLContext | None,
        room: Callable[[], bool],
        new: Callable[[Association], Guard],
    ) -> None:
        self._tls = tls
        self._room = room
        self.new = new
        super().__init__(
            entity,
            address,
            entity.ae_title,
            entity.supported_contexts,
            evt_handlers=[(evt.EVT_C_STORE, store)],
            request_handler=_Handler,
        )

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the connection is taken."""
        return self._room()

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection; TLS begins with its first byte, and not in the one thread that accepts."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def shutdown(self) -> None:
        """Accept no connection any more."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that fails at once is its peer's concern."""


class _Handler(RequestHandler):
    server: GuardedServer

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        # The unguarded socket has announced the connection; the guarded one does so again.
        assoc.dul.event_queue.get_nowait()
        guard = self.server.new(assoc)
        assoc.dul.socket = GuardedSocket(assoc, guard, client_socket=self.request)
        return assoc


def study_of(instance: bytes) -> str:
    """The StudyInstanceUID of a DICOM file, which is all that is read of it here.

    Raises:
        InputError: it names none.
    """
    try:
        header = read_partial(
            io.BytesIO(instance[:HEAD]),
            stop_when=lambda tag, _vr, _length: tag > STUDY_UID,
            specific_tags=[STUDY_UID],
        )
        return check_uid(str(header.get("StudyInstanceUID", "")).strip())
    except Exception as error:  # whatever a hostile file leads to
        raise InputError("an image names no study") from error
