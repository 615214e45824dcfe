"""One HTTP request at a time to the peer that the user named: bounded in time and in bytes.

The standard library's client and none of DICOMweb: those parse each instance in our own process
and hold a whole answer whatever its size. No redirect is followed and no proxy asked, so that
credentials and patients go to that peer and to no other.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping

from medvae.errors import AccessError, InputError, MedvaeError, NotFoundError
from medvae.pacs.multipart import CHUNK
from medvae.pacs.peers import PASSWORD, TOKEN, USER, Access, Peer, tls_of

# One answer may take so many times the silence that is allowed.
LONGEST = 60
MOST_LISTED = 64 << 20


class Http:
    """A peer's DICOMweb service. Raises as `tls_of`."""

    def __init__(self, peer: Peer, access: Access) -> None:
        self._peer = peer
        self._access = access
        self._tls = tls_of(peer, access)

    @contextlib.contextmanager
    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Iterator[bytes] | None = None,
    ) -> Iterator[Answer]:
        """Send a request; its answer may be read inside of the block.

        Raises:
            AccessError: the peer cannot be reached, does not prove who it is, refuses, or stops
                answering.
            InputError: its answer is no HTTP, or was cut off.
        """
        connection = self._connection()
        expiry = _Expiry(LONGEST * self._access.silence)
        try:
            connection.connect()
            expiry.begin(connection)
            sent = {"Accept-Encoding": "identity", **headers, **self._access.headers}
            connection.request(method, self._peer.path + path, body, sent)
            yield Answer(connection.getresponse())
        except MedvaeError as error:
            # An answer that we ended ourselves looks like one that was cut off.
            if expiry.passed:
                raise self._failed(error, expired=True) from error
            raise
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error, expired=expiry.passed) from error
        finally:
            expiry.end()
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port, silence = self._peer.host, self._peer.port, self._access.silence
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=silence)
        return http.client.HTTPSConnection(host, port, timeout=silence, context=self._tls)

    def _failed(self, error: Exception, *, expired: bool) -> MedvaeError:
        label = self._peer.label
        if expired:
            return AccessError(
                f"{label} did not end its answer in {LONGEST * self._access.silence:g} seconds: "
                "fetch less at a time, or raise --timeout"
            )
        return failure(label, error, self._access.silence)

    def check(self, answer: Answer) -> None:
        """Raise what the status of an answer means; nothing for 200 to 299."""
        label, status = self._peer.label, answer.status
        if 200 <= status < 300:
            return
        if status in (401, 403):
            raise AccessError(
                f"{label} refuses us (status {status}): set {USER} and {PASSWORD}, or {TOKEN}, "
                "to an account that may do this"
            )
        if status == 404:
            raise NotFoundError(
                f"{label} has no such place (status 404): check the path of the DICOMweb service"
            )
        if 300 <= status < 400:
            raise AccessError(
                f"{label} sends us elsewhere (status {status}), and no redirect is followed: name "
                "the address of the service itself"
            )
        raise AccessError(f"{label} did not do what we asked (status {status}): see its own log")


class Answer:
    """An answer whose body is read as it comes."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status

    def header(self, name: str) -> str:
        """A header, empty where there is none."""
        return self._response.headers.get(name, "")

    def read(self, most: int) -> bytes:
        """At most so many bytes; none at the end. Raises InputError where it was cut off."""
        if self.header("Content-Encoding").lower() not in ("", "identity"):
            raise InputError("its answer is packed, which we did not ask for")
        data = self._response.read1(min(most, CHUNK))
        if not data and self._response.length:
            raise http.client.IncompleteRead(b"")
        return data

    def all(self, most: int) -> bytes:
        """The whole body. Raises InputError where it is longer than `most`."""
        body = bytearray()
        while data := self.read(CHUNK):
            body += data
            if len(body) > most:
                raise InputError(f"its answer is longer than the {most} bytes allowed")
        return bytes(body)


def failure(label: str, error: Exception, silence: float) -> MedvaeError:
    """What an error of the connection to a peer means, in one sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AccessError(
            f"the certificate of {label} cannot be verified ({error.verify_message}): name the "
            "authority that signed it with --ca"
        )
    if isinstance(error, ssl.SSLError):
        return AccessError(
            f"no TLS could be agreed on with {label} ({error.reason or 'it ended the connection'}"
            "): check the port, and whether it asks for --client-cert"
        )
    if isinstance(error, TimeoutError):
        return AccessError(
            f"{label} was silent for {silence:g} seconds: check that it runs, or raise --timeout"
        )
    if isinstance(error, socket.gaierror):
        return AccessError(f"there is no machine of the name in {label}: check it")
    if isinstance(error, ConnectionRefusedError):
        return AccessError(f"nothing answers at {label}: check that it runs, and the port")
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected):
        return InputError(f"{label} cut its answer off: try again")
    if isinstance(error, http.client.HTTPException):
        return InputError(f"{label} does not speak HTTP as it should: check the address")
    return AccessError(f"the connection to {label} failed ({type(error).__name__}): try again")


class _Expiry:
    """Ends a connection when its time is up, however slowly it still speaks."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._sock: socket.socket | None = None
        self.passed = False

    def begin(self, connection: http.client.HTTPConnection) -> None:
        # The connection forgets its socket as soon as the answer begins.
        self._sock = connection.sock
        self._timer.start()

    def _expire(self) -> None:
        self.passed = True
        assert self._sock is not None
        with contextlib.suppress(OSError):  # closed meanwhile, which is what we want
            self._sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._timer.cancel()
