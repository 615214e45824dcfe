"""Frames between the reader and its sandboxed worker, over a Unix socket pair.

Frames are those of `medvae.frames`. Files cross as open descriptors (SCM_RIGHTS), so the worker
never opens a path. Nothing is pickled: a worker that has been taken over can send wrong voxels,
not code.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Any

from medvae.frames import LENGTHS, ClosedError, receive, send

__all__ = [
    "BATCH",
    "LENGTHS",
    "MOST_REQUEST",
    "ClosedError",
    "pack_names",
    "receive",
    "receive_files",
    "send",
    "send_files",
    "unpack_names",
]

# What we send ourselves: a batch of names of archive members, of 64 KiB each at most.
MOST_REQUEST = 16 * 1024**2
# Descriptors in flight count against the sender's own limit, so few at a time.
BATCH = 32


def pack_names(names: Iterable[str]) -> bytes:
    """A list of names as a body."""
    return "\0".join(name.replace("\0", "") for name in names).encode("utf-8", "surrogatepass")


def unpack_names(body: bytes | memoryview, most: int) -> list[str]:
    """The names of such a body.

    Raises:
        ClosedError: they are no text, or more than `most`.
    """
    text = bytes(body)
    if text.count(b"\0") >= most:
        raise ClosedError
    try:
        return text.decode("utf-8", "surrogatepass").split("\0") if text else []
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
