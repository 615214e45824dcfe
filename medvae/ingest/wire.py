"""Frames between the reader and its sandboxed worker, over a Unix socket pair.

A frame is two lengths (head, body; 8 bytes each, little-endian), a JSON object and raw
bytes. Files cross as open descriptors (SCM_RIGHTS), so the worker never opens a path.
Nothing is pickled: a worker that has been taken over can send wrong voxels, not code.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Any

LENGTHS = struct.Struct("<QQ")
# JSON grows up to thirtyfold in memory, so long lists go into the body (`names`).
MOST_HEAD = 1024**2
# What we send ourselves: a batch of names of archive members, of 64 KiB each at most.
MOST_REQUEST = 16 * 1024**2
# Descriptors in flight count against the sender's own limit, so few at a time.
BATCH = 32


class ClosedError(Exception):
    """The other side is gone, or what it sent is not a frame."""


def send(
    sock: socket.socket, head: dict[str, Any], body: bytes | bytearray | memoryview = b""
) -> None:
    """Send one frame."""
    text = json.dumps(head).encode()
    sock.sendall(LENGTHS.pack(len(text), len(body)) + text)
    if body:
        sock.sendall(body)


def receive(
    sock: socket.socket,
    most_body: int,
    deadline: float | None = None,
    most_head: int = MOST_HEAD,
) -> tuple[dict[str, Any], bytearray]:
    """Receive one frame.

    Args:
        most_body, most_head: a larger frame is refused before memory is set aside.
        deadline: on `time.monotonic`; None waits for ever.

    Raises:
        ClosedError: the other side closed, or the frame is malformed.
        TimeoutError: the deadline has passed.
    """
    head_size, body_size = LENGTHS.unpack(_exactly(sock, LENGTHS.size, deadline))
    if head_size > most_head or body_size > most_body:
        raise ClosedError
    text = _exactly(sock, head_size, deadline)
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ClosedError from error
    if not isinstance(head, dict):
        raise ClosedError
    return head, _exactly(sock, body_size, deadline)


def pack_names(names: Iterable[str]) -> bytes:
    """A list of names as a body."""
    return "\0".join(name.replace("\0", "") for name in names).encode("utf-8", "surrogatepass")


def unpack_names(body: bytes | bytearray, most: int) -> list[str]:
    """The names of such a body.

    Raises:
        ClosedError: they are no text, or more than `most`.
    """
    if body.count(b"\0") >= most:
        raise ClosedError
    try:
        return bytes(body).decode("utf-8", "surrogatepass").split("\0") if body else []
    except UnicodeDecodeError as error:
        raise ClosedError from error


def send_files(sock: socket.socket, head: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Send a frame, then at most `BATCH` open descriptors."""
    send(sock, head)
    if descriptors:
        socket.send_fds(sock, [b"F"], descriptors)


def receive_files(sock: socket.socket, count: int) -> list[int]:
    """Receive the `count` descriptors that follow a frame.

    Raises:
        ClosedError: fewer came.
    """
    if not count:
        return []
    _, descriptors, _, _ = socket.recv_fds(sock, 1, BATCH)
    if len(descriptors) != count:
        raise ClosedError
    return descriptors


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
        got = sock.recv_into(view)
        if not got:
            raise ClosedError
        view = view[got:]
    return data
