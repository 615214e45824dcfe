"""Where input files lie: a folder, a zip archive, or one file, all seen as trees of names.

A folder is opened component by component without following links, so that a link put
there between looking and opening leads nowhere; devices and pipes are never opened for
reading. Names inside an archive are only ever compared, never used as paths.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from medvae.errors import InputError
from medvae.ingest.records import Limits, Quarantined, printable
from medvae.ingest.sandbox import Pool

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for a writer.
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
MOST_DEPTH = 64
# Names of archives that are read as the folder they were made of.
ARCHIVES = (
    ".zip",
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
)


class Tree(Protocol):
    """Files under one source."""

    label: str

    def walk(self) -> Iterator[File | Quarantined]:
        """All files in a fixed order, and what cannot be looked at."""

    def find(self, name: str) -> File | None:
        """The file of this relative name, if it is there."""

    def has_folder(self, name: str) -> bool:
        """Whether a folder of this name is at the top."""

    def top(self) -> set[str]:
        """The names at the top."""

    def beside(self, folder: str) -> list[File]:
        """The files directly in a folder."""

    def open(self, name: str) -> int:
        """A descriptor for `name` (for an archive: of the archive). Raises InputError."""

    def read(self, name: str, most: int) -> bytes:
        """The first `most` bytes of a small text file. Raises InputError."""


@dataclass(frozen=True)
class File:
    """One file: `name` is relative to its tree, `member` its name inside an archive."""

    tree: Tree
    name: str
    member: str | None = None

    def open(self) -> int:
        return self.tree.open(self.name)

    @property
    def origin(self) -> str:
        """The archive that it is a member of, or else the folder that it is in."""
        if self.member is not None:
            return self.tree.label
        return str(PurePosixPath(self.tree.label, self.name).parent)

    @property
    def source(self) -> str:
        """What to call it in messages."""
        if not self.name:
            return printable(self.tree.label)
        return printable(f"{self.tree.label}/{self.name}")


class SingleFile:
    """A tree of one file that the user named, link or not."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.label = str(path)
        self._path = path
        self._limits = limits
        self.file = File(self, "")

    def walk(self) -> Iterator[File | Quarantined]:
        yield self.file

    def find(self, name: str) -> File | None:
        return None if name else self.file

    def has_folder(self, name: str) -> bool:
        return False

    def top(self) -> set[str]:
        return set()

    def beside(self, folder: str) -> list[File]:
        return []

    def open(self, name: str) -> int:
        return _open_regular(str(self._path), FILE, None, self._limits)

    def read(self, name: str, most: int) -> bytes:
        return _read(self.open(name), most)


class Folder:
    """A folder and all that is under it."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.label = str(path)
        self._root = os.path.realpath(path)
        self._identity = _identity(Path(self._root).stat())
        self._limits = limits

    def walk(self) -> Iterator[File | Quarantined]:
        yield from self._walk("", 0)

    def _walk(self, folder: str, depth: int) -> Iterator[File | Quarantined]:
        if depth > MOST_DEPTH:
            yield Quarantined(File(self, folder).source, "folders are nested too deeply")
            return
        try:
            with os.scandir(os.path.join(self._root, folder)) as listing:  # noqa: PTH118
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            yield Quarantined(File(self, folder).source, "the folder cannot be opened")
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink() and _is_folder(entry):
                yield Quarantined(File(self, name).source, "it is a link to a folder: not followed")
            elif entry.is_dir(follow_symlinks=False):
                yield from self._walk(name, depth + 1)
            else:
                yield File(self, name)

    def find(self, name: str) -> File | None:
        there = name and os.path.lexists(os.path.join(self._root, name))  # noqa: PTH118
        return File(self, name) if there else None

    def has_folder(self, name: str) -> bool:
        return os.path.isdir(os.path.join(self._root, name))  # noqa: PTH112, PTH118

    def top(self) -> set[str]:
        try:
            return set(os.listdir(self._root))  # noqa: PTH208
        except OSError:
            return set()

    def beside(self, folder: str) -> list[File]:
        try:
            names = sorted(os.listdir(os.path.join(self._root, folder)))  # noqa: PTH118, PTH208
        except OSError:
            return []
        return [File(self, str(PurePosixPath(folder) / name)) for name in names]

    def read(self, name: str, most: int) -> bytes:
        return _read(self.open(name), most)

    def open(self, name: str) -> int:
        try:
            return self._open_unlinked(name)
        except LinkedError:
            # A link inside the source (as data managers use) is resolved once, and the
            # place it names opened without following any further link.
            real = os.path.realpath(os.path.join(self._root, name))  # noqa: PTH118
            if os.path.commonpath([real, self._root]) != self._root:
                raise InputError("it is a link that leads out of the source") from None
            try:
                return self._open_unlinked(os.path.relpath(real, self._root))
            except LinkedError:
                raise InputError("it is a link that cannot be followed") from None

    def _open_unlinked(self, name: str) -> int:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or name.startswith("/"):
            raise InputError("its name leads out of the source")
        folder = _open(self._root, FOLDER, None)
        try:
            if _identity(os.fstat(folder)) != self._identity:
                raise InputError("its source was replaced while it was being read")
            for part in parts[:-1]:
                deeper = _open(part, FOLDER | os.O_NOFOLLOW, folder)
                os.close(folder)
                folder = deeper
            return _open_regular(parts[-1], FILE | os.O_NOFOLLOW, folder, self._limits)
        finally:
            os.close(folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to a folder (a link in a circle leads nowhere)."""
    try:
        return entry.is_dir()
    except OSError:
        return False


class Listed(Folder):
    """The files that a DICOMDIR lists, under its own folder.

    The list is the worker's reading of a foreign file: every name is opened like any
    other of the folder, so none can lead out of it.
    """

    def __init__(self, path: Path, limits: Limits, pool: Pool) -> None:
        super().__init__(path.parent, limits)
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._names = [
            self._as_stored(name.split("/"))
            for name in dict.fromkeys(pool.names("directory", SingleFile(path, limits).file))
        ]

    def walk(self) -> Iterator[File | Quarantined]:
        for name in self._names:
            yield File(self, name)

    def find(self, name: str) -> File | None:
        return None

    def has_folder(self, name: str) -> bool:
        return False

    def top(self) -> set[str]:
        return set()

    def _as_stored(self, parts: list[str]) -> str:
        """A name of the list, in the case that it has on disc where only that differs."""
        name = "/".join(parts)
        if super().find(name):
            return name
        path = ""
        for part in parts:
            same = self._in_lower_case(path).get(part.lower(), [])
            if len(same) != 1:
                return name
            path = same[0]
        return path

    def _in_lower_case(self, folder: str) -> dict[str, list[str]]:
        """The names in a folder, by their last part in lower case; each folder is listed once."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            for file in super().beside(folder):
                listing.setdefault(PurePosixPath(file.name).name.lower(), []).append(file.name)
            self._listings[folder] = listing
        return self._listings[folder]


def _read(descriptor: int, most: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


class LinkedError(Exception):
    """The last component of a name, or a folder on the way, is a symbolic link."""


def _open(path: str, flags: int, folder: int | None) -> int:
    try:
        return os.open(path, flags, dir_fd=folder)
    except FileNotFoundError as error:
        raise InputError("there is no such file") from error
    except PermissionError as error:
        raise InputError("it may not be read: its permissions forbid it") from error
    except (OSError, ValueError) as error:
        if flags & os.O_NOFOLLOW and _is_link(path, folder):
            raise LinkedError from error
        raise InputError("it cannot be opened") from error


def _is_link(path: str, folder: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path, dir_fd=folder).st_mode)
    except (OSError, ValueError):
        return False


def _open_regular(path: str, flags: int, folder: int | None, limits: Limits) -> int:
    """Open what is a regular file of a bearable size; a device is closed without a read."""
    try:
        before = os.stat(path, dir_fd=folder, follow_symlinks=not flags & os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise InputError("there is no such file") from error
    except (OSError, ValueError) as error:
        raise InputError("it cannot be opened") from error
    if stat.S_ISLNK(before.st_mode):
        raise LinkedError
    if not stat.S_ISREG(before.st_mode):
        # Opening a device can already do something (rewind a tape), so do not.
        raise InputError("it is not a regular file")
    descriptor = _open(path, flags, folder)
    after = os.fstat(descriptor)
    reason = ""
    if not stat.S_ISREG(after.st_mode):
        reason = "it is not a regular file"
    elif after.st_size > limits.file_bytes:
        reason = f"it is larger than the {limits.file_bytes} bytes allowed for one file"
    if reason:
        os.close(descriptor)
        raise InputError(reason)
    return descriptor
