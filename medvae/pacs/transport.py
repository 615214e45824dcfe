"""pynetdicom with bounds: it reads what a peer announces, and waits for it, without any.

Its messages go to no log and pydicom's warnings to no terminal: both repeat what a peer sends.
"""

from __future__ import annotations

import logging
import ssl
import warnings
from typing import TYPE_CHECKING

import pynetdicom
from pynetdicom import _config, evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from medvae.errors import InputError
from medvae.pacs.guard import MOST_COMMAND, MOST_PDU, Guard

if TYPE_CHECKING:
    import socket

    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

CHUNK = 1 << 16

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
_config.LOG_HANDLER_LEVEL = "none"
warnings.filterwarnings("ignore", module=r"pydicom\.")


class GuardedSocket(AssociationSocket):
    """A connection whose peer may send so much and be silent so long as its guard allows."""

    def __init__(
        self,
        assoc: Association,
        guard: Guard,
        client_socket: socket.socket | None = None,
        address: AddressInformation | None = None,
    ) -> None:
        super().__init__(assoc, client_socket, address)
        self.guard = guard
        self.error: OSError | None = None
        assoc.dimse = GuardedMessages(assoc, guard)
        if client_socket is not None:
            guard.begin(client_socket, self._wake)

    def _wake(self) -> None:
        self.assoc.dimse.msg_queue.put((None, None))
        self._hang_up()

    def _hang_up(self) -> None:
        # Nothing else informs who waits for a proposal that the connection has ended before it.
        if self.assoc.is_acceptor and not self.assoc.is_established:
            self.assoc.dul.to_user_queue.put(None)

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect, with TLS where it is wanted; `error` is why that failed."""
        assert self.socket is not None
        try:
            self.socket.settimeout(self.guard.silence)
            self.socket.connect(primitive.address_info.as_tuple)
            if self.tls_args:
                context, name = self.tls_args
                self.socket = context.wrap_socket(self.socket, server_hostname=name)
            # The guard sees to silence from here on.
            self.socket.settimeout(None)
            self.guard.begin(self.socket, self._wake)
            ours = AddressInformation.from_tuple(self.socket.getsockname())
            self.assoc.requestor.address_info = ours
            self._is_connected = True
            evt.trigger(self.assoc, evt.EVT_CONN_OPEN, {"address": primitive.address})
            primitive.result = "Evt2"
        except OSError as error:
            self.error = error
            self.socket.close()
            self.socket = None
            primitive.result = "Evt17"
        self.provider_queue.put(primitive)
        self._ready.set()

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer at the end. Raises OSError where a bound is passed."""
        if nr_bytes > MOST_PDU:
            self.guard.end(InputError(f"{self.guard.label} does not speak DICOM as it should"))
            raise OSError("too long a message")
        data = bytearray()
        while len(data) < nr_bytes:
            assert self.socket is not None
            piece = self.socket.recv(min(nr_bytes - len(data), CHUNK))
            if not piece:
                self._hang_up()
                break
            self.guard.count(len(piece))
            data += piece
        return data

    def send(self, bytestream: bytes) -> None:
        """Send all of it."""
        super().send(bytestream)
        self.guard.touch()


class GuardedMessages(DIMSEServiceProvider):
    """Messages of one association: commands of bounded length, and none that is malformed."""

    def __init__(self, assoc: Association, guard: Guard) -> None:
        super().__init__(assoc)
        self._guard = guard
        self._command = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message."""
        try:
            for _, data in primitive.presentation_data_value_list:
                if data[0] & 1:
                    self._command += len(data)
                if self._command > MOST_COMMAND:
                    raise ValueError("too long a command")
                if data[0] & 2:
                    self._command = 0
            super().receive_primitive(primitive)
        except Exception:  # noqa: BLE001  whatever a parser makes of a hostile peer's bytes
            self._guard.end(
                InputError(f"{self._guard.label} does not speak DICOM as it should: check the port")
            )


class GuardedEntity(pynetdicom.AE):
    """An application entity whose associations have a guard."""

    def __init__(self, ae_title: str, guard: Guard) -> None:
        super().__init__(ae_title)
        self.guard = guard
        self.connection_timeout = guard.silence
        # The guard sees to silence; these must not end what is large and slow.
        self.dimse_timeout = self.network_timeout = None
        self.acse_timeout = guard.silence + 1

    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> GuardedSocket:
        sock = GuardedSocket(assoc, self.guard, address=address)
        sock.tls_args = tls_args
        return sock
