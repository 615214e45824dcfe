"""Frames between our own processes over a connected Unix socket.

A frame is two lengths (head, body; 8 bytes each, little-endian), a JSON object and raw
bytes. Nothing is pickled: a process that has been taken over can send wrong numbers, not code.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

from medvae import memory

LENGTHS = struct.Struct("<QQ")
# JSON grows up to thirtyfold in memory, so long lists go into the body.
MOST_HEAD = 1024**2


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
) -> tuple[dict[str, Any], memoryview]:
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
        head = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise ClosedError from error
    if not isinstance(head, dict):
        raise ClosedError
    return head, _exactly(sock, body_size, deadline)


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> memoryview:
    data = view = memory.fresh(size)
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
