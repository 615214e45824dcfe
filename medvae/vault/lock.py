"""One writer a tenant, by a lock that the kernel takes back when its holder dies.

`flock` on the file `lock`. The file holds the writer's process id while it is held and is
emptied when it is released: whoever finds a process id in a lock that is free knows that
the last writer died, and clears up after it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Final

from medvae.errors import AccessError
from medvae.vault import fileio

FILE: Final = "lock"
_POLL_SECONDS: Final = 0.05
_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


class WriterLock:
    """Re-entrant within the thread of one handle; exclusive against all else."""

    def __init__(self, folder: Path, tenant: str, file: str = FILE) -> None:
        self._path = folder / file
        self._tenant = tenant
        self._thread = threading.RLock()
        self._fd: int | None = None
        self._depth = 0
        _held.add(self)

    def acquire(self, wait: float) -> bool:
        """Take the lock; returns whether the holder before died while it held it.

        Raises:
            AccessError: another writer holds it longer than `wait` seconds.
        """
        if not self._thread.acquire(timeout=max(wait, 0.0)):
            raise AccessError(f"tenant {self._tenant} is being written by another thread")
        try:
            if self._depth == 0:
                fd = self._take(wait)
                crashed = bool(os.pread(fd, 64, 0).strip())
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                self._fd = fd
            else:
                crashed = False
            self._depth += 1
        except BaseException:
            self._thread.release()
            raise
        return crashed

    @property
    def nested(self) -> bool:
        """Whether the thread that holds it has taken it more than once."""
        return self._depth > 1

    def release(self) -> None:
        """Give it back."""
        self._depth -= 1
        if self._depth == 0 and self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None
        self._thread.release()

    def forget(self) -> None:
        """In the child of a fork: the lock is the parent's, drop the shared descriptor."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._depth, self._thread = None, 0, threading.RLock()

    def _take(self, wait: float) -> int:
        until = time.monotonic() + wait
        while True:
            fd = self._open()
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A lock on a file that was removed meanwhile would exclude nobody.
                if self._is_named(fd):
                    return fd
            except BlockingIOError:
                if time.monotonic() >= until:
                    busy = self._busy(fd)
                    os.close(fd)
                    raise busy from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            time.sleep(_POLL_SECONDS)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, fileio.PRIVATE_FILE)
        except OSError as error:
            raise AccessError(
                f"tenant {self._tenant} cannot be written to: its lock {self._path} does not open "
                f"({error.strerror or error}); check the folder's permissions, and remove what is "
                "no plain file"
            ) from error

    def _is_named(self, fd: int) -> bool:
        """Whether the lock's path still leads to this descriptor's file."""
        try:
            return os.path.samestat(os.fstat(fd), self._path.lstat())
        except FileNotFoundError:
            return False

    def _busy(self, fd: int) -> AccessError:
        holder = os.pread(fd, 64, 0).decode("ascii", "replace").strip() or "unknown"
        return AccessError(
            f"tenant {self._tenant} is being written by process {holder}: wait until it is done"
        )


def _after_fork() -> None:
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_after_fork)
