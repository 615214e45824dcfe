"""Heads of database files, read without taking SQLite's locks from it.

Locks of `fcntl` belong to a process and a file: closing any descriptor of the file drops those of
all its connections in that process (sqlite.org/howtocorrupt.html, 2.2). Another process then
removes the write-ahead log that a connection still writes to, and commits are lost. So a descriptor
of a file stays open for as long as a connection of this process is.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from medvae.vault import fileio


@dataclass
class _Held:
    fd: int
    users: int


_held: dict[tuple[int, int], _Held] = {}
_guard = threading.Lock()


@dataclass(frozen=True)
class Hold:
    """A connection's part in the descriptor of its file.

    Attributes:
        file: device and inode.
        pid: the process that it is of.
    """

    file: tuple[int, int]
    pid: int

    def head(self, size: int) -> bytes:
        """The first `size` bytes of the file, or fewer of a shorter one."""
        return os.pread(_held[self.file].fd, size, 0)

    def release(self) -> None:
        """Give it back, once the connection is closed; after a fork there is nothing to give."""
        with _guard:
            if self.pid != os.getpid():
                return
            held = _held[self.file]
            held.users -= 1
            if held.users == 0:
                del _held[self.file]
                os.close(held.fd)


def hold(path: Path) -> Hold:
    """Keep a regular file open until it is released as often as it was held.

    Raises:
        OSError: it does not open.
        IntegrityError: it is a symbolic link, or no regular file.
    """
    with _guard:
        file = _name(os.lstat(path))
        if file not in _held:
            fd = fileio.descriptor(path)
            # Of a file that was put there meanwhile; one that is held must not be closed.
            file = _name(os.fstat(fd))
            _held.setdefault(file, _Held(fd, 0))
        _held[file].users += 1
        return Hold(file, os.getpid())


def _name(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _after_fork() -> None:
    """In the child: no connection is its own, and neither are their locks."""
    global _guard
    _guard = threading.Lock()
    for held in _held.values():
        os.close(held.fd)
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
