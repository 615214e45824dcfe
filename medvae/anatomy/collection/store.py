"""The library's folder: stores each entry whole or not at all, and verifies entries.

    anatomy/NAME/entry.json               what the entry says, with its digest
    anatomy/NAME/0001.safetensors.gz ...  one person a file
    anatomy/NAME/alignment.safetensors    the cached group-wise alignment

Nothing here is secret; digests show damage.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, overload

from medvae.anatomy.collection import alignment, entries
from medvae.anatomy.collection.alignment import AlignedEntry
from medvae.anatomy.collection.entries import Entry, FileDigest
from medvae.anatomy.collection.people import PersonMaps
from medvae.errors import AccessError, IntegrityError, NotFoundError, UsageError
from medvae.progress import SILENT, Progress

FOLDER: Final = "anatomy"
_ADDING: Final = ".adding-"


class Library:
    """The public anatomy of one vault."""

    def __init__(self, vault: Path) -> None:
        self._vault = vault
        self.root = vault / FOLDER

    def names(self) -> list[str]:
        """Every entry, by name."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name[0] != ".")

    def entry(self, name: str) -> Entry:
        """What an entry says.

        Raises:
            NotFoundError: there is none of this name. IntegrityError: it is damaged.
        """
        if name not in self.names():
            available = ", ".join(self.names()) or "none"
            raise NotFoundError(f"there is no anatomy entry {name!r}; the vault has: {available}")
        try:
            data = (self.root / name / entries.FILE).read_bytes()
        except FileNotFoundError:
            raise IntegrityError(
                f"the anatomy entry {name} is damaged: {entries.FILE} is missing; delete its "
                "folder in the vault and add the entry again"
            ) from None
        return Entry.from_bytes(data, name)

    def person(self, entry: Entry, index: int) -> PersonMaps:
        """The maps of one person. Raises IntegrityError where the digest does not fit."""
        return PersonMaps.from_bytes(self._checked(entry.name, entry.people[index].stored))

    def aligned(self, entry: Entry) -> AlignedEntry:
        """The cached alignment. Raises IntegrityError where the digest does not fit."""
        return AlignedEntry.from_bytes(self._checked(entry.name, entry.alignment))

    def verify(self, progress: Progress = SILENT) -> tuple[int, list[dict[str, str]]]:
        """Check every file of every entry against its digest.

        Returns:
            How many files were checked, and [{"object", "reason"}] of those that are damaged.
        """
        names = self.names()
        progress.start("checking the library", len(names))
        count, damaged = 0, []
        for done, name in enumerate(names, 1):
            checked, problems = self._verify(name)
            count += checked
            damaged += problems
            progress.advance(done)
        progress.finish()
        return count, damaged

    @contextmanager
    def adding(self, name: str) -> Iterator[Staging]:
        """A staging folder for a new entry; it becomes the entry when `Staging.commit` is called.

        Whatever stops before that leaves nothing behind.

        Raises:
            UsageError: the name is not valid or taken, or another `add` is running.
        """
        entries.check_name(name)
        self._make()
        lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(
                    "another medvae adds to the anatomy library; wait until it has ended"
                ) from error
            if (self.root / name).exists():
                raise UsageError(f"the anatomy entry {name} exists already; choose another name")
            for stale in self.root.glob(f"{_ADDING}*"):
                shutil.rmtree(stale)
            folder = self.root / f"{_ADDING}{secrets.token_hex(8)}"
            folder.mkdir()
            try:
                yield Staging(folder, self.root / name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)

    def _make(self) -> None:
        try:
            self._vault.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise AccessError(
                f"the anatomy library {self.root} cannot be made: {error.strerror}"
            ) from error

    def _checked(self, name: str, file: FileDigest) -> bytes:
        try:
            data = (self.root / name / file.name).read_bytes()
        except FileNotFoundError:
            raise IntegrityError(f"{name}/{file.name} of the anatomy library is missing") from None
        if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            raise IntegrityError(f"{name}/{file.name} of the anatomy library has changed")
        return data

    def _verify(self, name: str) -> tuple[int, list[dict[str, str]]]:
        try:
            entry = self.entry(name)
        except IntegrityError as error:
            return 1, [{"object": f"{name}/{entries.FILE}", "reason": str(error)}]
        files = [*(person.stored for person in entry.people), entry.alignment]
        damaged = []
        for file in files:
            try:
                self._checked(name, file)
            except IntegrityError as error:
                damaged.append({"object": f"{name}/{file.name}", "reason": str(error)})
        listed = {entries.FILE, *(file.name for file in files)}
        damaged += [
            {"object": f"{name}/{path.name}", "reason": "the entry does not know this file"}
            for path in sorted((self.root / name).iterdir())
            if path.name not in listed
        ]
        return 1 + len(files), damaged


class Staging:
    """A new entry that is not there yet."""

    def __init__(self, folder: Path, final: Path) -> None:
        self._folder, self._final = folder, final
        self._count = 0

    def add(self, maps: PersonMaps) -> FileDigest:
        """Keep one person's maps."""
        self._count += 1
        return self._write(_person_file(self._count - 1), maps.to_bytes())

    def people(self) -> Sequence[PersonMaps]:
        """What was added, read again one by one: memory holds a single person."""
        return _Staged(self._folder, self._count)

    def align(self, aligned: AlignedEntry) -> FileDigest:
        """Keep the alignment."""
        return self._write(alignment.FILE, aligned.to_bytes())

    def commit(self, entry: Entry) -> None:
        """Make the entry appear, durably and whole."""
        self._write(entries.FILE, entry.to_bytes())
        _sync(self._folder)
        self._folder.rename(self._final)
        _sync(self._final.parent)

    def _write(self, name: str, data: bytes) -> FileDigest:
        with (self._folder / name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return FileDigest.of(name, data)


class _Staged(Sequence[PersonMaps]):
    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> PersonMaps: ...

    @overload
    def __getitem__(self, index: slice) -> list[PersonMaps]: ...

    def __getitem__(self, index: int | slice) -> PersonMaps | list[PersonMaps]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return PersonMaps.from_bytes((self._folder / _person_file(index)).read_bytes())


def _person_file(index: int) -> str:
    return f"{index + 1:04}.safetensors.gz"


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
