"""One reading of a whole catalogue in the order of its keys, held against its newest head.

A head commits to the rows as a set. Rows that come by another way than the reading that is
hashed (by an index, by a seek) can be other rows: whoever can write to the disk can move an
entry of a b-tree out of its order, where a seek passes it by and a full reading does not. So
whatever must be complete (a ledger, what a deletion spares) is taken from here.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from medvae.errors import IntegrityError
from medvae.vault import heads
from medvae.vault.catalogue import Row, select
from medvae.vault.heads import Change, Head
from medvae.vault.index import GENESIS, Index
from medvae.vault.keys import Keys


@dataclass(frozen=True)
class Record:
    """One sealed record of a journal, as it is stored."""

    number: int
    sealed: bytes
    link: bytes


@dataclass
class Scan:
    """Everything that a catalogue holds.

    rows: the objects, ids strictly ascending. journals: the records of each journal by the
    keyed index of its name, numbers strictly ascending. commits: the link of each head, from
    the first; head: that of the newest.
    """

    rows: list[Row] = field(default_factory=list)
    journals: dict[bytes, list[Record]] = field(default_factory=dict)
    head: bytes = GENESIS
    commits: list[bytes] = field(default_factory=list)
    _stated: int = 0
    _found: int = 0

    def prove(self) -> None:
        """Nothing is missing, nothing was added.

        Raises:
            IntegrityError: what was read is not what the newest head commits to.
        """
        if self._stated != self._found:
            raise IntegrityError(
                "the rows of the catalogue are not those of its last commit: some were removed, "
                "added or put back outside medvae; restore the catalogue from a backup"
            )

    def prove_journals(self, connection: sqlite3.Connection) -> None:
        """Each journal has the records 0 to n - 1, and its tail, which appends go by, is there.

        Raises:
            IntegrityError: a seek to the newest record finds another one.
        """
        for name, records in self.journals.items():
            newest = records[-1]
            if newest.number != len(records) - 1 or tail(connection, name) != (
                len(records),
                newest.link,
            ):
                raise _out_of_order()

    def index(self) -> Index:
        """The rows in memory; only after `prove` and `prove_journals`."""
        return Index(
            head=self.head,
            rows={row.object_id: row for row in self.rows},
            lookups={row.lookup: row.object_id for row in self.rows if row.lookup is not None},
            tails={name: (len(all_), all_[-1].link) for name, all_ in self.journals.items()},
        )


def scan(connection: sqlite3.Connection, keys: Keys) -> Scan:
    """Read the whole catalogue; nothing in it is proven before `Scan.prove`.

    Raises:
        IntegrityError: the chain of heads is broken, or keys are not in ascending order.
    """
    commits, newest, parent = _commits(connection)
    snapshot = Scan(commits=commits)
    if newest is not None:
        snapshot.head = newest.head
        snapshot._stated = heads.open_state(keys, newest, parent)
    if heads.last(connection) != newest:
        raise _out_of_order()
    change = Change(keys)
    last_id = b""
    for row in select(connection):
        if row.object_id <= last_id:
            raise _out_of_order()
        change.add(row)
        snapshot.rows.append(row)
        last_id = row.object_id
    _read_journals(connection, snapshot, change)
    snapshot._found = change.total()
    return snapshot


def tail(connection: sqlite3.Connection, name: bytes) -> tuple[int, bytes]:
    """How many records a journal has by a seek to the newest, and that one's link."""
    query = "SELECT number, link FROM journal WHERE name = ? ORDER BY number DESC LIMIT 1"
    row = connection.execute(query, (name,)).fetchone()
    if row is None:
        return 0, GENESIS
    number, link = row
    if type(number) is not int or type(link) is not bytes:
        raise sqlite3.DatabaseError("a journal holds values of other types")
    return number + 1, link


def _commits(connection: sqlite3.Connection) -> tuple[list[bytes], Head | None, bytes]:
    """The link of every head, the newest head, and the link before that."""
    links, newest, parent = [], None, GENESIS
    for newest, parent in heads.chain(connection):  # noqa: B007
        links.append(newest.head)
    return links, newest, parent


def _read_journals(connection: sqlite3.Connection, snapshot: Scan, change: Change) -> None:
    last_record: tuple[bytes, int] = (b"", 0)
    query = "SELECT name, number, sealed, link FROM journal ORDER BY name, number"
    for name, number, sealed, link in connection.execute(query):
        if not (type(name) is type(sealed) is type(link) is bytes and type(number) is int):
            raise sqlite3.DatabaseError("a journal holds values of other types")
        if (name, number) <= last_record:
            raise _out_of_order()
        change.add_record(name, number, sealed, link)
        snapshot.journals.setdefault(name, []).append(Record(number, sealed, link))
        last_record = name, number


def _out_of_order() -> IntegrityError:
    return IntegrityError(
        "the rows of the catalogue are not in the order of their keys: it was changed outside "
        "medvae; restore the catalogue from a backup"
    )
