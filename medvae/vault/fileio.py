"""Durable, private file operations: 0700 folders, 0600 files, no symbolic link followed.

Order of every durable write (ALICE, Pillai et al., OSDI 2014): temporary file in the same
file system -> fsync -> rename -> fsync of the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from medvae import space
from medvae.errors import AccessError, IntegrityError, NotFoundError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Files read whole by this module are headers and keys; nothing of the kind is larger.
_SMALL = 16 * 1024 * 1024


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte of `data`; `os.write` may stop early on large buffers."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def new_file(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Create a file that must not exist yet, durably.

    Raises:
        FileExistsError: something (also a symbolic link) is at `path` already.
        AccessError: the disk is full; nothing is at `path` then.
    """
    with space.writing(path, len(data)):
        fd = os.open(path, _NEW, mode)
        try:
            os.fchmod(fd, mode)
            write_all(fd, data)
            os.fsync(fd)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(fd)
    fsync_folder(path.parent)


def atomic_write(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Create or replace a file: afterwards it holds all of `data`, or what it held before.

    Raises:
        OSError: the folder is missing or not writable; `path` is unchanged then.
        AccessError: the disk is full; `path` is unchanged then.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with space.writing(path, len(data)):
        fd = os.open(temporary, _NEW, mode)
        try:
            try:
                os.fchmod(fd, mode)
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            raise
    fsync_folder(path.parent)


def unfinished(path: Path) -> list[Path]:
    """What `atomic_write` left beside `path` when its process was killed."""
    return [file for file in path.parent.glob(f".{glob.escape(path.name)}.*.tmp") if file.is_file()]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """`descriptor`, closed at the end. Never of a catalogue: see `held`."""
    fd = descriptor(path)
    try:
        yield fd
    finally:
        os.close(fd)


def descriptor(path: Path) -> int:
    """A descriptor to read a regular file; a symbolic link or a device is refused.

    Raises:
        FileNotFoundError: nothing is there.
        IntegrityError: something is there that is no regular file.
    """
    try:
        fd = os.open(path, _READ | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if path.is_symlink():
            raise IntegrityError(f"{path} is a symbolic link, which is not followed") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise IntegrityError(f"{path} is not a regular file")
    return fd


def read_small(path: Path) -> bytes:
    """All of a small file (at most 16 MiB).

    Raises:
        FileNotFoundError, IntegrityError: as `opened`, or the file is too large.
    """
    with opened(path) as fd:
        return read_all(fd, path)


def read_all(fd: int, path: Path) -> bytes:
    """`read_small` from a descriptor; `path` is for the message."""
    size = os.fstat(fd).st_size
    if size > _SMALL:
        raise IntegrityError(f"{path} has {size} bytes, expected at most {_SMALL}")
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def shred(path: Path) -> None:
    """Overwrite a key file and remove it.

    Best effort: journaling file systems, SSDs and snapshots may keep older blocks
    (NIST SP 800-88 rev. 1, section 4.7); what protects is that the file held keys wrapped
    to recipients, never bare keys.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        write_all(fd, bytes(os.fstat(fd).st_size))
        os.fsync(fd)
    finally:
        os.close(fd)
    path.unlink()
    fsync_folder(path.parent)


@contextlib.contextmanager
def file_lock(folder: Path) -> Iterator[None]:
    """One process at a time, among those that ask for their turn at this folder.

    Where the file system has no locks there is no waiting either.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def private_folder(path: Path) -> None:
    """Make a folder of mode 0700 that must not exist yet, durably."""
    path.mkdir(mode=PRIVATE_FOLDER)
    fsync_folder(path.parent)


def check_private(path: Path, what: str) -> None:
    """Refuse a folder that is a link, somebody else's, or open to others.

    Raises:
        NotFoundError: nothing is there.
        AccessError: it is not a folder of this account with mode 0700.
    """
    try:
        info = path.lstat()
    except FileNotFoundError:
        raise NotFoundError(f"{what} does not exist at {path}") from None
    if not stat.S_ISDIR(info.st_mode):
        raise AccessError(f"{what} at {path} must be a folder, not a link or a file")
    if info.st_uid != os.geteuid():
        raise AccessError(
            f"{what} at {path} belongs to user id {info.st_uid}, not to this account "
            f"({os.geteuid()}): use the account that owns it"
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise AccessError(
            f"{what} at {path} is open to other accounts (mode "
            f"{stat.S_IMODE(info.st_mode):04o}, expected 0700): run chmod 700 on it"
        )
