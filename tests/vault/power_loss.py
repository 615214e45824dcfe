"""A disk that loses power: file operations are recorded, then replayed without some of them.

Recorded are our own system calls (by wrapping them in `os`) and SQLite's (by wrapping the
methods of its file system layer through ctypes). An image after a loss at operation N keeps
what was synchronised before N. Of what was not, every write is kept, dropped or torn at a
512-byte sector, and every directory entry has one of its values since the last fsync of its
folder, at random. That is harsher than real journaling file systems.
"""

# pathlib calls the very functions that are wrapped here:
# ruff: noqa: PTH100, PTH112, PTH120
from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECTOR = 512


@dataclass
class Operation:
    """kind: write, truncate, sync (of a file), entry (a name), syncdir, mkdir, mark."""

    kind: str
    file: int = 0
    path: str = ""
    offset: int = 0
    data: bytes = b""
    note: dict[str, Any] = field(default_factory=dict)


class Recorder:
    """Records what happens to files under `root` between `start` and the end of the block."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.operations: list[Operation] = []
        self.names: dict[str, int] = {}
        self.start_files: dict[str, int] = {}
        self._fds: dict[int, int] = {}
        self._folders: dict[int, str] = {}
        self._positions: dict[int, int] = {}
        self._next = 1
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.endswith("-shm"):
                self.names[str(path)] = self._new()
        self.start_files = dict(self.names)

    def mark(self, **note: Any) -> None:
        """The workload says something; it holds for every later loss."""
        self.operations.append(Operation("mark", note=note))

    def _new(self) -> int:
        self._next += 1
        return self._next

    def inside(self, path: Any) -> str | None:
        """The path, when it is of this recording."""
        text = os.path.abspath(os.fspath(path)) if isinstance(path, str | os.PathLike) else ""
        good = text.startswith(self.root + os.sep) and not text.endswith("-shm")
        return text if good else None

    def entry(self, path: str, file: int | None) -> None:
        """A name means another file now, or none."""
        if file is None:
            self.names.pop(path, None)
        else:
            self.names[path] = file
        self.operations.append(Operation("entry", file or 0, path))

    def created(self, path: str) -> int:
        """The file of a name, made when it is new."""
        if path not in self.names:
            self.entry(path, self._new())
        return self.names[path]

    def add(self, kind: str, file: int, offset: int = 0, data: bytes = b"") -> None:
        """A write, truncation or sync of a file."""
        self.operations.append(Operation(kind, file, "", offset, data))

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Wrap `os` and SQLite."""
        with pytest.MonkeyPatch.context() as patch:
            self._wrap_opening(patch)
            self._wrap_writing(patch)
            self._wrap_naming(patch)
            with sqlite_recorded(self):
                yield

    def _wrap_opening(self, patch: pytest.MonkeyPatch) -> None:
        real_open, real_close = os.open, os.close

        def opening(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
            fd = real_open(path, flags, mode, **more)
            inside = self.inside(path)
            if inside is not None and os.path.isdir(inside):
                self._folders[fd] = inside
            elif inside is not None:
                self._fds[fd] = self.created(inside)
                self._positions[fd] = 0
            return fd

        def closing(fd: int) -> None:
            self._fds.pop(fd, None)
            self._folders.pop(fd, None)
            real_close(fd)

        patch.setattr(os, "open", opening)
        patch.setattr(os, "close", closing)

    def _wrap_writing(self, patch: pytest.MonkeyPatch) -> None:
        real_write, real_fsync = os.write, os.fsync
        real_pwrite, real_ftruncate = os.pwrite, os.ftruncate

        def writing(fd: int, data: Any) -> int:
            count = real_write(fd, data)
            if fd in self._fds:
                self.add("write", self._fds[fd], self._positions[fd], bytes(data[:count]))
                self._positions[fd] += count
            return count

        def pwriting(fd: int, data: Any, offset: int) -> int:
            count = real_pwrite(fd, data, offset)
            if fd in self._fds:
                self.add("write", self._fds[fd], offset, bytes(data[:count]))
            return count

        def syncing(fd: int) -> None:
            real_fsync(fd)
            if fd in self._folders:
                self.operations.append(Operation("syncdir", path=self._folders[fd]))
            elif fd in self._fds:
                self.add("sync", self._fds[fd])

        def truncating(fd: int, size: int) -> None:
            real_ftruncate(fd, size)
            if fd in self._fds:
                self.add("truncate", self._fds[fd], size)

        patch.setattr(os, "write", writing)
        patch.setattr(os, "pwrite", pwriting)
        patch.setattr(os, "fsync", syncing)
        patch.setattr(os, "ftruncate", truncating)

    def _wrap_naming(self, patch: pytest.MonkeyPatch) -> None:
        real_rename, real_replace, real_unlink = os.rename, os.replace, os.unlink
        real_mkdir = os.mkdir

        def moved(real: Any, source: Any, target: Any) -> None:
            real(source, target)
            before, after = self.inside(source), self.inside(target)
            if before is not None and after is not None:
                file = self.names[before]
                self.entry(after, file)
                self.entry(before, None)

        def unlinking(path: Any, **more: Any) -> None:
            real_unlink(path, **more)
            if (inside := self.inside(path)) is not None:
                self.entry(inside, None)

        def making(path: Any, *args: Any, **more: Any) -> None:
            real_mkdir(path, *args, **more)
            if (inside := self.inside(path)) is not None:
                self.operations.append(Operation("mkdir", path=inside))

        patch.setattr(os, "rename", lambda source, target: moved(real_rename, source, target))
        patch.setattr(os, "replace", lambda source, target: moved(real_replace, source, target))
        patch.setattr(os, "unlink", unlinking)
        patch.setattr(os, "mkdir", making)


# SQLite's file system layer: struct sqlite3_vfs and struct sqlite3_io_methods (sqlite.org)

_PTR, _INT, _I64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_OPEN = ctypes.CFUNCTYPE(_INT, _PTR, _PTR, _PTR, _INT, _PTR)
_DELETE = ctypes.CFUNCTYPE(_INT, _PTR, _PTR, _INT)
_CLOSE = ctypes.CFUNCTYPE(_INT, _PTR)
_WRITE = ctypes.CFUNCTYPE(_INT, _PTR, _PTR, _INT, _I64)
_TRUNCATE = ctypes.CFUNCTYPE(_INT, _PTR, _I64)
_SYNC = ctypes.CFUNCTYPE(_INT, _PTR, _INT)


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("iVersion", _INT),
        ("szOsFile", _INT),
        ("mxPathname", _INT),
        ("pNext", _PTR),
        ("zName", _PTR),
        ("pAppData", _PTR),
        ("xOpen", _PTR),
        ("xDelete", _PTR),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("iVersion", _INT),
        ("xClose", _PTR),
        ("xRead", _PTR),
        ("xWrite", _PTR),
        ("xTruncate", _PTR),
        ("xSync", _PTR),
        ("rest", _PTR * 16),
    )


class _Shim:
    """The unix layer with our functions in front of open, delete, write, truncate, sync."""

    def __init__(self, recorder: Recorder, vfs: _Vfs) -> None:
        self.recorder = recorder
        self.files: dict[int, tuple[int, str]] = {}
        self.tables: dict[int, tuple[_Methods, tuple[Any, ...]]] = {}
        self.real_open, self.real_delete = _OPEN(vfs.xOpen), _DELETE(vfs.xDelete)
        self.open, self.delete = _OPEN(self._open), _DELETE(self._delete)

    def _open(self, vfs: int, name: int, file: int, flags: int, out: int) -> int:
        status = int(self.real_open(vfs, name, file, flags, out))
        path = self.recorder.inside(ctypes.string_at(name).decode()) if name else None
        if status == 0 and path is not None:
            methods = ctypes.cast(file, ctypes.POINTER(_PTR))
            if methods[0]:
                self.files[file] = (self.recorder.created(path), path)
                methods[0] = ctypes.addressof(self._table(methods[0]))
        return status

    def _delete(self, vfs: int, name: int, sync: int) -> int:
        status = int(self.real_delete(vfs, name, sync))
        path = self.recorder.inside(ctypes.string_at(name).decode())
        if status == 0 and path in self.recorder.names:
            self.recorder.entry(str(path), None)
            if sync:
                self.recorder.operations.append(
                    Operation("syncdir", path=os.path.dirname(str(path)))
                )
        return status

    def _table(self, original: int) -> _Methods:
        if original in self.tables:
            return self.tables[original][0]
        table = _Methods()
        ctypes.memmove(ctypes.byref(table), original, ctypes.sizeof(_Methods))
        real_close, real_write = _CLOSE(table.xClose), _WRITE(table.xWrite)
        real_truncate, real_sync = _TRUNCATE(table.xTruncate), _SYNC(table.xSync)

        def close(file: int) -> int:
            self.files.pop(file, None)
            return int(real_close(file))

        def write(file: int, data: int, count: int, offset: int) -> int:
            status = int(real_write(file, data, count, offset))
            if status == 0:
                raw = ctypes.string_at(data, count)
                self.recorder.add("write", self.files[file][0], offset, raw)
            return status

        def truncate(file: int, size: int) -> int:
            status = int(real_truncate(file, size))
            self.recorder.add("truncate", self.files[file][0], size)
            return status

        def sync(file: int, flags: int) -> int:
            status = int(real_sync(file, flags))
            number, path = self.files[file]
            self.recorder.add("sync", number)
            # The unix layer also syncs the folder of a log that it has just made.
            self.recorder.operations.append(Operation("syncdir", path=os.path.dirname(path)))
            return status

        kept = (_CLOSE(close), _WRITE(write), _TRUNCATE(truncate), _SYNC(sync))
        table.xClose, table.xWrite, table.xTruncate, table.xSync = (
            ctypes.cast(function, _PTR).value for function in kept
        )
        self.tables[original] = (table, kept)
        return table


@contextlib.contextmanager
def sqlite_recorded(recorder: Recorder) -> Iterator[None]:
    """Wrap the SQLite library that Python's sqlite3 is linked to; skips when it is not shared."""
    library = _library()
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
    vfs = library.sqlite3_vfs_find(None).contents
    shim = _Shim(recorder, vfs)
    before = vfs.xOpen, vfs.xDelete
    vfs.xOpen = ctypes.cast(shim.open, _PTR).value
    vfs.xDelete = ctypes.cast(shim.delete, _PTR).value
    try:
        yield
    finally:
        vfs.xOpen, vfs.xDelete = before
        _KEEP.append(shim)


_KEEP: list[_Shim] = []  # connections that are still open go on calling into it


def _library() -> ctypes.CDLL:
    import _sqlite3
    import sqlite3

    sqlite3.connect(":memory:").close()
    maps = Path("/proc/self/maps")
    loaded = {
        line.split()[-1] for line in maps.read_text().splitlines() if "sqlite3.so" in line
    } if maps.exists() else set()  # fmt: skip
    for name in [*sorted(loaded), _sqlite3.__file__]:
        library = ctypes.CDLL(name)
        if hasattr(library, "sqlite3_vfs_find"):
            return library
    pytest.skip("Python's sqlite3 is built in: its file operations cannot be recorded")


# Replaying


class Disk:
    """What is certain and what is not, after a number of operations."""

    def __init__(self, recorder: Recorder, base: Path) -> None:
        self.root = recorder.root
        self.synced = {
            file: bytearray((base / Path(path).relative_to(self.root)).read_bytes())
            for path, file in recorder.start_files.items()
        }
        self.loose: dict[int, list[Operation]] = {}
        self.entries = {path: [file] for path, file in recorder.start_files.items()}
        self.folders = {str(path.relative_to(base)) for path in base.rglob("*") if path.is_dir()}
        self.marks: list[dict[str, Any]] = []

    def run(self, operation: Operation) -> None:
        """Take in one operation."""
        kind = operation.kind
        if kind in ("write", "truncate"):
            self.loose.setdefault(operation.file, []).append(operation)
        elif kind == "sync":
            for one in self.loose.pop(operation.file, []):
                _apply(self.synced.setdefault(operation.file, bytearray()), one)
        elif kind == "entry":
            self.entries.setdefault(operation.path, [0]).append(operation.file)
        elif kind == "syncdir":
            for path, values in self.entries.items():
                if os.path.dirname(path) == operation.path:
                    self.entries[path] = values[-1:]
        elif kind == "mkdir":
            self.folders.add(os.path.relpath(operation.path, self.root))
        else:
            self.marks.append(operation.note)

    def write(self, target: Path, rng: random.Random) -> None:
        """One of the trees that may be found when the power is back."""
        for name in sorted(self.folders):
            (target / name).mkdir(parents=True, exist_ok=True)
        for path, values in self.entries.items():
            if file := rng.choice(values):
                data = bytearray(self.synced.get(file, b""))
                for one in self.loose.get(file, []):
                    _maybe(data, one, rng)
                where = target / Path(path).relative_to(self.root)
                where.write_bytes(bytes(data))
                where.chmod(0o600)
        for folder in (target, *target.rglob("*")):
            if folder.is_dir():
                folder.chmod(0o700)


def image(
    recorder: Recorder, base: Path, target: Path, until: int, rng: random.Random
) -> list[dict[str, Any]]:
    """Write the disk after a power loss at operation `until`; returns the marks before it.

    base: a copy of the tree as it was when the recording began.
    """
    disk = Disk(recorder, base)
    for operation in recorder.operations[:until]:
        disk.run(operation)
    disk.write(target, rng)
    return disk.marks


def _apply(data: bytearray, operation: Operation) -> None:
    if operation.kind == "truncate":
        del data[operation.offset :]
        data.extend(bytes(operation.offset - len(data)))
        return
    if len(data) < operation.offset:
        data.extend(bytes(operation.offset - len(data)))
    data[operation.offset : operation.offset + len(operation.data)] = operation.data


def _maybe(data: bytearray, operation: Operation, rng: random.Random) -> None:
    fate = rng.random()
    if fate < 0.4:
        return
    if fate < 0.6 and operation.kind == "write":
        kept = rng.randrange(0, len(operation.data) // SECTOR + 1) * SECTOR
        operation = Operation("write", operation.file, "", operation.offset, operation.data[:kept])
    _apply(data, operation)


def copy(source: Path, target: Path) -> None:
    """The tree without SQLite's shared memory, which no disk keeps."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm"))
