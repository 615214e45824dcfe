"""A tenant's key ring and catalogue as another machine sends them: sealed, in memory, for reading.

SQLite's write-ahead log works among the processes of one machine alone, so that a catalogue on a
shared file system cannot be read from a second one while the first writes. A copy can. It is
proven under the tenant's keys as the file is: nothing is trusted because of who has sent it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medvae.errors import AccessError, IntegrityError
from medvae.vault.catalogue import Catalogue

# Where a database says that its journal is a write-ahead log (SQLite file format, 1.3.3).
_JOURNAL = slice(18, 20)


@dataclass(frozen=True)
class Copy:
    """A tenant as it was at one moment.

    Attributes:
        ring: its key ring, as stored.
        catalogue: an SQLite database.
        store: where its objects are, as who reads the copy expects it.
    """

    ring: bytes
    catalogue: bytes
    store: str


def refusal(tenant: str) -> AccessError:
    """The sentence of what would write."""
    return AccessError(f"tenant {tenant} is open for reading alone, from a copy")


def of_catalogue(connection: sqlite3.Connection) -> bytes:
    """All that is committed, its write-ahead log included, as one database."""
    with contextlib.closing(sqlite3.connect(":memory:")) as memory:
        connection.backup(memory)
        data = bytearray(memory.serialize())
    data[_JOURNAL] = b"\1\1"
    return bytes(data)


class CopiedCatalogue(Catalogue):
    """A catalogue in memory, which nothing is written to."""

    def __init__(self, data: bytes, tenant: str) -> None:
        super().__init__(Path("the copy that was sent"), tenant)
        self._data = data

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Refused. AccessError."""
        raise refusal(self._tenant)
        yield  # type: ignore[unreachable]

    def checkpoint(self) -> bool:
        """Refused. AccessError."""
        raise refusal(self._tenant)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            try:
                connection.deserialize(self._data)
                connection.execute("PRAGMA trusted_schema=OFF")
                connection.execute("PRAGMA query_only=ON")
            except sqlite3.Error as error:
                connection.close()
                raise IntegrityError(
                    f"the catalogue of tenant {self._tenant} that was sent is none"
                ) from error
            self._connection = connection
        return self._connection
