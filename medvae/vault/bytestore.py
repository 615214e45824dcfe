"""Where sealed objects lie: one interface, a local folder here, S3 in `s3store`.

A store sees ciphertext only. Writing has two steps: `stage` puts the bytes somewhere
durable, `publish` gives them their names. What was staged and not published belongs to
nobody and is swept after a crash. A key is never written twice: a new version of an object
is a new key.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from medvae.errors import IntegrityError, MedvaeError
from medvae.vault import fileio, format

OBJECTS: Final = "objects"
STAGING: Final = "tmp"
QUARANTINE: Final = "quarantine"
_FLUSH: Final = 8 << 20
KEY: Final = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{30}-[0-9]{1,18})")


@dataclass(frozen=True)
class Stored:
    """What was written: bytes and their SHA-256."""

    size: int
    sha256: bytes


@dataclass(frozen=True)
class Entry:
    """One thing in the store: its key, its size, and how many seconds ago it was written."""

    key: str
    size: int
    age: float


class ByteStore(Protocol):
    """The suite in tests/vault/test_bytestore.py says what every store must do."""

    def stage(self, key: str, pieces: Iterable[memoryview]) -> Stored:
        """Write durably, not yet under its name. Raises OSError when it cannot."""

    def publish(self, keys: Sequence[str]) -> None:
        """Staged keys are there, durably, when this returns."""

    def discard(self, keys: Sequence[str]) -> None:
        """Staged keys are gone."""

    def size(self, key: str) -> int | None:
        """Bytes, or None when the key is not there. Raises IntegrityError when what is
        there is no plain file."""

    def pieces(self, key: str, *, staged: bool = False) -> Iterator[memoryview]:
        """The bytes, about 1 MiB at a time, in a buffer that is reused.
        Raises FileNotFoundError."""

    def delete(self, keys: Sequence[str]) -> None:
        """The keys are gone; one that is not there is no error."""

    def entries(self) -> Iterator[Entry]:
        """Everything published, and anything unknown among it."""

    def sweep(self, older_than: float = 0.0) -> int:
        """Remove what was staged longer ago than so many seconds; returns how many."""

    def quarantine(self, key: str) -> str:
        """Move a damaged object aside, without changing it; returns where it is."""

    def purge(self) -> None:
        """Delete everything, after the tenant's keys were destroyed."""


class LocalStore:
    """A folder a tenant: objects/ab/<id>-<version>, tmp/, quarantine/."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._staged: dict[str, Path] = {}

    @staticmethod
    def create(folder: Path) -> None:
        """Make the folders, mode 0700."""
        for name in (OBJECTS, STAGING, QUARANTINE):
            fileio.private_folder(folder / name)

    def stage(self, key: str, pieces: Iterable[memoryview]) -> Stored:
        """Write into tmp/, fsync."""
        path = self._folder / STAGING / secrets.token_hex(16)
        checked(key)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, fileio.PRIVATE_FILE)
        try:
            stored = write_hashed(fd, pieces)
            os.fsync(fd)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(fd)
        self._staged[key] = path
        return stored

    def publish(self, keys: Sequence[str]) -> None:
        """Rename each into place, then fsync each folder once."""
        folders = set()
        for key in keys:
            target = self._path(key)
            if not target.parent.is_dir():
                with contextlib.suppress(FileExistsError):
                    fileio.private_folder(target.parent)
            if os.path.lexists(target):
                # Left by a commit that was cut off, or newer than a catalogue that was put
                # back: nothing refers to it, but it is not for us to destroy.
                self.quarantine(key)
            self._staged[key].rename(target)
            del self._staged[key]
            folders.add(target.parent)
        for folder in folders:
            fileio.fsync_folder(folder)

    def discard(self, keys: Sequence[str]) -> None:
        """Unlink from tmp/."""
        for key in keys:
            path = self._staged.pop(key, None)
            if path is not None:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def size(self, key: str) -> int | None:
        """From the file's inode; a link is no file."""
        try:
            info = self._path(key).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(info.st_mode):
            raise IntegrityError(f"object file {key} is not a regular file")
        return info.st_size

    def pieces(self, key: str, *, staged: bool = False) -> Iterator[memoryview]:
        """Read with a reused buffer."""
        path = self._staged[key] if staged else self._path(key)
        with fileio.opened(path) as fd:
            large = os.fstat(fd).st_size > 4 * format.PIECE
            yield from read_ahead(fd) if large else read_pieces(fd)

    def delete(self, keys: Sequence[str]) -> None:
        """Unlink; durability does not matter, since nothing refers to them any more."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self._path(key).unlink()

    def entries(self) -> Iterator[Entry]:
        """Walk objects/, without following links."""
        top = self._folder / OBJECTS
        now = time.time()
        for folder, folders, names in os.walk(top, followlinks=False):
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in names + links:
                path = Path(folder) / name
                with contextlib.suppress(FileNotFoundError):
                    info = path.lstat()
                    key = path.relative_to(top).as_posix()
                    yield Entry(key, info.st_size, now - info.st_mtime)

    def sweep(self, older_than: float = 0.0) -> int:
        """Empty tmp/ of what is old enough."""
        count = 0
        for path in (self._folder / STAGING).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.lstat().st_mtime >= older_than:
                    path.unlink()
                    count += 1
        return count

    def quarantine(self, key: str) -> str:
        """Rename into quarantine/, under a name that is not taken."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name = f"{Path(key).name}.{stamp}.{secrets.token_hex(4)}"
        target = self._folder / QUARANTINE / name
        self._path(key).rename(target)
        fileio.fsync_folder(target.parent)
        fileio.fsync_folder(self._path(key).parent)
        return f"{QUARANTINE}/{name}"

    def purge(self) -> None:
        """Nothing to do: the tenant's folder goes as a whole."""

    def _path(self, key: str) -> Path:
        checked(key)
        folder = self._folder / OBJECTS / key[:2]
        if folder.is_symlink() or folder.parent.is_symlink():
            raise IntegrityError(f"object folder {folder} is a symbolic link, not followed")
        return self._folder / OBJECTS / key


def write_hashed(fd: int, pieces: Iterable[memoryview]) -> Stored:
    """Write pieces to `fd` and hash them; large ones on a second core.

    The disk is set to work while the rest is still being made: the last fsync, which is the
    one that counts, then finds little left to do.
    """
    digest, size, flushed = hashlib.sha256(), 0, 0
    flush: Future[None] | None = None
    with ThreadPoolExecutor(2) as pool:
        for piece in pieces:
            # The piece's buffer is reused by its maker, so both must be done with it.
            job = pool.submit(digest.update, piece) if len(piece) > 1 << 16 else None
            if job is None:
                digest.update(piece)
            fileio.write_all(fd, piece)
            size += len(piece)
            if size - flushed >= _FLUSH and (flush is None or flush.done()):
                flushed, flush = size, pool.submit(os.fdatasync, fd)
            if job is not None:
                job.result()
    if flush is not None:
        flush.result()
    return Stored(size, digest.digest())


def read_pieces(fd: int) -> Iterator[memoryview]:
    """About 1 MiB at a time, in a buffer that is reused."""
    buffer = memoryview(bytearray(format.PIECE))
    while count := os.readv(fd, [buffer]):
        yield buffer[:count]


def read_ahead(fd: int) -> Iterator[memoryview]:
    """`read_pieces` with the next piece being read while one is in use."""
    buffers = [memoryview(bytearray(format.PIECE)) for _ in range(2)]
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(os.readv, fd, [buffers[0]])
        while count := job.result():
            ready = buffers[0][:count]
            buffers.reverse()
            job = pool.submit(os.readv, fd, [buffers[0]])
            yield ready


def hashed(pieces: Iterable[memoryview]) -> Stored:
    """Size and SHA-256 of pieces."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return Stored(size, digest.digest())


def checked(key: str) -> str:
    """The key, if it is one. Raises MedvaeError."""
    if not KEY.fullmatch(key):
        raise MedvaeError(f"{key!r} is not the key of an object")
    return key
