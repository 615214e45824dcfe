"""The parts of a multipart/related body (RFC 2046, PS3.18 8.6.1.2), each of bounded size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from medvae.errors import InputError

CHUNK = 1 << 18
# Headers of a part, and what may stand before the first one.
MOST_HEADERS = 1 << 14
BOUNDARY = re.compile(r"""boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)
CUT = "its answer ends in the middle of a study"

Read = Callable[[int], bytes]


class TooLargeError(Exception):
    """A part is larger than there is room for."""


def boundary_of(content_type: str) -> bytes:
    """The boundary between the parts of a body, as its Content-Type gives it.

    Raises:
        InputError: it is no multipart/related with a boundary.
    """
    match = BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/related") or match is None:
        raise InputError("its answer is not multipart/related")
    return (match.group(1) or match.group(2)).encode("latin-1")


def parts(read: Read, boundary: bytes, room: Callable[[], int]) -> Iterator[tuple[str, bytes]]:
    """The content type (lower case) and the bytes of each part, in order.

    Args:
        read: gives at most so many bytes of the body, none at its end.
        room: bytes that the next part may have.

    Raises:
        InputError: the body ends before its last boundary, or has headers without an end.
        TooLargeError: a part is larger than `room`.
    """
    body = _Body(read)
    delimiter = b"\r\n--" + boundary
    try:
        body.until(delimiter, MOST_HEADERS)
        while body.peek(2) != b"--":
            headers = body.until(b"\r\n\r\n", MOST_HEADERS)
            kind = _content_type(headers)
            try:
                yield kind, body.until(delimiter, room())
            except _LongError as error:
                raise TooLargeError from error
    except _LongError as error:
        raise InputError("its answer is no multipart message") from error


class _LongError(Exception):
    """The mark does not come within the bytes allowed."""


class _Body:
    def __init__(self, read: Read) -> None:
        self._read = read
        # The first boundary needs no line break before it.
        self._ahead = bytearray(b"\r\n")

    def until(self, mark: bytes, most: int) -> bytes:
        """The bytes before the next mark, which is passed over."""
        start = 0
        while (at := self._ahead.find(mark, start)) < 0:
            start = max(0, len(self._ahead) - len(mark) + 1)
            if start > most:
                raise _LongError
            self._more()
        if at > most:
            raise _LongError
        part = bytes(memoryview(self._ahead)[:at])
        del self._ahead[: at + len(mark)]
        return part

    def peek(self, count: int) -> bytes:
        while len(self._ahead) < count:
            self._more()
        return bytes(self._ahead[:count])

    def _more(self) -> None:
        chunk = self._read(CHUNK)
        if not chunk:
            raise InputError(CUT)
        self._ahead += chunk


def _content_type(headers: bytes) -> str:
    for line in headers.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-type":
            return value.partition(";")[0].strip().lower()
    return ""
