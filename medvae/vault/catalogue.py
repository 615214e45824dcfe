"""The catalogue of a tenant: SQLite in WAL mode with synchronous=FULL.

It holds no plaintext: opaque ids, kinds, sizes and SHA-256 of ciphertext (so that a scrub
needs no key), and for each object a small sealed record with its data key and its name.
That record is bound to every other column of its row, so a changed row does not open.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medvae import space
from medvae.errors import AccessError, IntegrityError
from medvae.vault import fileio, format
from medvae.vault.held import Hold, hold

FILE: Final = "catalogue.db"
# I/O errors by which SQLite says that the file holds other bytes than were written.
_BAD_BYTES: Final = (sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA)
# Another process may hold the write lock for one commit, at most a rotation.
_BUSY_SECONDS: Final = 60.0
# Of the memory that connections share, SQLite writes this at once (walformat.html, 2.2).
_LEAST_ROOM: Final = 32 * 1024
_SCHEMA: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE objects(
    id BLOB PRIMARY KEY, kind TEXT NOT NULL, version INTEGER NOT NULL, lookup BLOB UNIQUE,
    size INTEGER NOT NULL, sha256 BLOB NOT NULL, epoch INTEGER NOT NULL,
    born INTEGER NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX objects_by_kind ON objects(kind);
CREATE TABLE journal(
    name BLOB NOT NULL, number INTEGER NOT NULL, sealed BLOB NOT NULL, link BLOB NOT NULL,
    PRIMARY KEY(name, number)) WITHOUT ROWID;
CREATE TABLE heads(sequence INTEGER PRIMARY KEY, sealed BLOB NOT NULL, head BLOB NOT NULL);
CREATE TABLE refusals(time TEXT NOT NULL, event TEXT NOT NULL);
"""
_COLUMNS: Final = "id, kind, version, lookup, size, sha256, epoch, born, sealed"


@dataclass(frozen=True, slots=True)
class Row:
    """One object.

    lookup: HMAC of (kind, name), or None when it has no name.
    size, sha256: of the ciphertext. epoch: whose key wraps `sealed`. born: the epoch in
    which the data key was made. sealed: data key and name.
    """

    object_id: bytes
    kind: str
    version: int
    lookup: bytes | None
    size: int
    sha256: bytes
    epoch: int
    born: int
    sealed: bytes

    @property
    def key(self) -> str:
        """The name of its ciphertext in the byte store."""
        text = self.object_id.hex()
        return f"{text[:2]}/{text}-{self.version}"

    def label(self) -> str:
        """How messages call it."""
        return f"{self.kind} {self.object_id.hex()}"


def row_context(tenant_id: bytes, row: Row, epoch: int | None = None) -> bytes:
    """What `sealed` is bound to: every other column, and the tenant.

    epoch: that of the row, if it is about to get another one.
    """
    return format.context(
        "row",
        tenant_id,
        row.kind,
        row.object_id,
        row.version,
        row.lookup,
        row.size,
        row.sha256,
        row.epoch if epoch is None else epoch,
        row.born,
    )


class Catalogue:
    """One connection a process; safe to use from several threads and after a fork."""

    def __init__(self, folder: Path, tenant: str) -> None:
        self._path = folder / FILE
        self._tenant = tenant
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self._hold: Hold | None = None
        self._pid = 0

    @staticmethod
    def create(folder: Path, tenant: str, tenant_id: bytes, epoch: int) -> None:
        """Make an empty catalogue, mode 0600.

        Raises:
            AccessError: the disk refuses.
        """
        path = folder / FILE
        fileio.new_file(path, b"")
        with Catalogue(folder, tenant)._errors():
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                if mode != "wal":
                    # A disk that refuses this one step is no error to SQLite.
                    raise _no_log(tenant, folder)
                connection.execute("PRAGMA synchronous=FULL")
                connection.executescript("BEGIN;" + _SCHEMA + "COMMIT;")
                meta = [("format", format.FORMAT), ("tenant", tenant_id), ("epoch", epoch)]
                connection.executemany("INSERT INTO meta VALUES(?, ?)", meta)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()
        fileio.fsync_folder(folder)

    def close(self) -> None:
        """Close the connection of this process."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
                if self._hold is not None:
                    self._hold.release()
            self._connection = self._hold = None

    def exclusive(self) -> threading.RLock:
        """Keeps the other threads of this process away from the catalogue while entered."""
        return self._lock

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent snapshot to read from."""
        with self._lock, self._errors():
            connection = self._connect()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is durable when the block ends, or none of it."""
        with self._lock, self._errors():
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the database and empty it, if no reader objects.

        Returns whether every commit is in the database file now.
        """
        with self._lock, self._errors():
            query = "PRAGMA wal_checkpoint(TRUNCATE)"
            busy, logged, moved = self._connect().execute(query).fetchone()
        return bool(busy == 0 or 0 <= logged == moved)

    def check(self) -> str | None:
        """What SQLite's own check finds wrong, or None."""
        with self.reading() as connection:
            # Not quick_check: that passes over the order of keys and the contents of indexes.
            (first,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        return None if first == "ok" else str(first)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        if self._connection is not None:
            # A connection must not be used, nor closed, on the other side of a fork.
            self._abandoned.append(self._connection)
        for suffix in ("", "-wal", "-shm", "-journal"):
            path = self._path.with_name(FILE + suffix)
            if path.is_symlink():
                raise IntegrityError(f"{path} is a symbolic link, which is not followed")
        if not self._path.is_file():
            raise IntegrityError(
                f"the catalogue of tenant {self._tenant} is missing ({self._path}): restore it "
                "from a backup"
            )
        held = self._held()
        try:
            self._check_header(held)
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA mmap_size=0")
        except BaseException:
            held.release()
            raise
        self._connection, self._hold, self._pid = connection, held, os.getpid()
        return connection

    def _held(self) -> Hold:
        try:
            return hold(self._path)
        except OSError as error:
            raise self._unread(error) from error

    def _check_header(self, held: Hold) -> None:
        """Not marked as of another journal mode, nor as read-only (SQLite file format, 1.3.3)."""
        try:
            header = held.head(20)
        except OSError as error:
            raise self._unread(error) from error
        if header[:16] != b"SQLite format 3\0" or header[18:20] != b"\2\2":
            raise self._damaged(ValueError("its header was changed"))

    def _unread(self, error: OSError) -> AccessError:
        return AccessError(
            f"the catalogue of tenant {self._tenant} cannot be read "
            f"({error.strerror or error}): check {self._path}"
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except format.ContextError as error:
            raise self._damaged(error) from error
        except UnicodeDecodeError as error:
            # Of SQLite's own message, which quotes a schema that was changed.
            raise self._damaged(ValueError("its schema is no text")) from error
        except sqlite3.OperationalError as error:
            self._fail(error)
        except sqlite3.Error as error:
            # A constraint that fails as well: what is written was held against proven rows.
            raise self._damaged(error) from error

    def _fail(self, error: sqlite3.OperationalError) -> None:
        code = getattr(error, "sqlite_errorcode", None) or 0
        primary = code & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise AccessError(
                f"the catalogue of tenant {self._tenant} is in use by another process: try "
                "again when it is done"
            ) from error
        # That the memory which connections share cannot grow is an I/O error to SQLite.
        room = primary != sqlite3.SQLITE_IOERR or space.free(self._path) >= _LEAST_ROOM
        if primary == sqlite3.SQLITE_FULL or not room:
            # The write-ahead log can take as much as the catalogue itself.
            needed = max(self._path.stat().st_size, _LEAST_ROOM)
            raise space.shortage(self._path.parent, needed, "nothing was changed") from error
        if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise AccessError(
                f"the catalogue of tenant {self._tenant} cannot be written ({error}): check the "
                f"space and the permissions of {self._path.parent}"
            ) from error
        if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL) and code not in _BAD_BYTES:
            raise AccessError(
                f"the disk refused the catalogue of tenant {self._tenant} ({error}), and nothing "
                f"was changed: check the disk that holds {self._path.parent}, then try again"
            ) from error
        raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> IntegrityError:
        return IntegrityError(
            f"the catalogue of tenant {self._tenant} is damaged ({error}): restore "
            f"{self._path} from a backup"
        )


def _no_log(tenant: str, folder: Path) -> AccessError:
    return AccessError(
        f"the disk refused the write-ahead log of the catalogue of tenant {tenant}, and nothing "
        f"was kept: check the disk that holds {folder} and its space, then try again"
    )


def epoch_of(connection: sqlite3.Connection) -> int:
    """The current epoch's number."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    if row is None or not isinstance(row[0], int):
        raise sqlite3.DatabaseError("no epoch number in it")
    return row[0]


def select(connection: sqlite3.Connection, where: str = "", *values: Any) -> Iterator[Row]:
    """Rows in the order of their ids; `where` is SQL written in this package only."""
    clause = f"WHERE {where}" if where else ""
    query = f"SELECT {_COLUMNS} FROM objects {clause} ORDER BY id"  # noqa: S608
    return (_row(record) for record in connection.execute(query, values))


def _row(record: tuple[Any, ...]) -> Row:
    """A row whose values are of the types that it was written with: SQLite keeps any."""
    object_id, kind, version, lookup, size, sha256, epoch, born, sealed = record
    good = (
        type(object_id) is type(sha256) is type(sealed) is bytes
        and len(object_id) == 16
        and (lookup is None or type(lookup) is bytes)
        and type(kind) is str
        and len(kind) <= 32
        and kind.isascii()
        and kind.isprintable()
        and type(version) is type(size) is type(epoch) is type(born) is int
        and min(version, size, epoch, born) >= 0
    )
    if not good:
        raise sqlite3.DatabaseError("a row of objects holds values of other types")
    return Row(*record)


def check_schema(connection: sqlite3.Connection) -> None:
    """Nothing but our tables: no trigger, no view, that would run when we write.

    Raises:
        sqlite3.DatabaseError: the schema is not that of this format.
    """
    statements = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master") if row[0]}
    expected = {text.strip() for text in _SCHEMA.split(";") if text.strip()}
    if statements != expected:
        raise sqlite3.DatabaseError("its tables are not those of this format")


def insert(connection: sqlite3.Connection, row: Row) -> None:
    """Add a row, or replace the one with its id."""
    marks = ", ".join("?" * 9)
    connection.execute(
        f"INSERT OR REPLACE INTO objects({_COLUMNS}) VALUES({marks})",
        (
            row.object_id,
            row.kind,
            row.version,
            row.lookup,
            row.size,
            row.sha256,
            row.epoch,
            row.born,
            row.sealed,
        ),
    )


def remove(connection: sqlite3.Connection, object_id: bytes) -> None:
    """Drop a row.

    Raises:
        sqlite3.DatabaseError: there was none to drop, so nothing may be said to be erased.
    """
    cursor = connection.execute("DELETE FROM objects WHERE id = ?", (object_id,))
    if cursor.rowcount != 1:
        raise sqlite3.DatabaseError("a row that is to be deleted is not where its id is")
