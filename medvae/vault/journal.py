"""Append-only journals: sealed records in a hash chain, each durable when `append` returns.

A record's seal is bound to the tenant, the journal, its number and the link before it, so
a record opens only in its place. Records live in the catalogue: an append is one SQLite
transaction, whole or absent after a power loss, and every head of the catalogue commits to
them. There is no way to change or remove one.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag

from medvae.errors import IntegrityError, UsageError
from medvae.vault import format, heads
from medvae.vault.heads import GENESIS, Change
from medvae.vault.keys import Keys

if TYPE_CHECKING:
    from medvae.vault.session import Session

_LARGEST: Final = 16 * 1024 * 1024


class Journal:
    """One journal of a tenant."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.name = name

    def append(self, record: bytes) -> int:
        """Add a record; it is on the disk when this returns. Returns its number, from 0."""
        if len(record) > _LARGEST:
            raise UsageError(f"a journal record has at most {_LARGEST} bytes, not {len(record)}")
        with self._session.changing() as (connection, keys, change):
            return append(connection, keys, change, self.name, record)

    def entries(self) -> list[bytes]:
        """Every record, oldest first, with the chain checked.

        A chain is whole without its last links, and a journal without any is a new one. So
        the catalogue is held against its head as well: a ledger never reads as less spent.

        Raises:
            IntegrityError: a record was changed, removed, added or moved.
        """
        with self._session.looking() as (connection, keys):
            records = [record for record, _ in opened(connection, keys, self.name)]
            heads.check_rows(connection, keys)
            return records

    def head(self) -> str:
        """How many records there are and the newest link, "COUNT:HEX": an anchor to keep."""
        with self._session.looking() as (connection, keys):
            number, link = tail(connection, index(keys, self.name))
            return f"{number}:{link.hex()}"

    def check(self, anchor: str) -> None:
        """The journal still holds everything that it held when `anchor` was its head.

        Raises:
            IntegrityError: it was rolled back or forked since.
            UsageError: `anchor` is not what `head` gives.
        """
        count, _, link = anchor.partition(":")
        if not count.isdigit() or len(link) != 2 * len(GENESIS):
            raise UsageError(f"{anchor!r} is not a journal's head: expected COUNT:HEX")
        with self._session.looking() as (connection, keys):
            links = [GENESIS, *(found for _, found in opened(connection, keys, self.name))]
        if int(count) >= len(links):
            raise IntegrityError(
                f"journal {self.name} was rolled back: it has {len(links) - 1} records, the "
                f"anchor {count}"
            )
        if links[int(count)].hex() != link:
            raise IntegrityError(
                f"journal {self.name} was rolled back and went on differently: record {count} "
                "is not the anchored one"
            )


def append(
    connection: sqlite3.Connection, keys: Keys, change: Change, name: str, record: bytes
) -> int:
    """Append within a transaction."""
    key = index(keys, name)
    number, before = tail(connection, key)
    sealed = format.wrap(_key(keys, name), _context(keys, name, number, before), record)
    link = _link(before, sealed)
    connection.execute("INSERT INTO journal VALUES(?, ?, ?, ?)", (key, number, sealed, link))
    change.add_record(key, number, sealed, link)
    return number


def opened(connection: sqlite3.Connection, keys: Keys, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Each record with its link.

    Raises:
        IntegrityError: naming the journal and the record.
    """
    query = "SELECT number, sealed, link FROM journal WHERE name = ? ORDER BY number"
    before = GENESIS
    for expected, (number, sealed, link) in enumerate(
        connection.execute(query, (index(keys, name),))
    ):
        try:
            if number != expected or type(sealed) is not bytes or link != _link(before, sealed):
                raise InvalidTag
            bound = _context(keys, name, number, before)
            record = format.unwrap(_key(keys, name), bound, sealed)
        except (InvalidTag, ValueError) as error:
            raise IntegrityError(
                f"journal {name}: record {expected} was changed, removed or moved; restore the "
                "catalogue from a backup"
            ) from error
        yield record, link
        before = link


def tail(connection: sqlite3.Connection, key: bytes) -> tuple[int, bytes]:
    """How many records a journal has, and its newest link."""
    query = "SELECT number, link FROM journal WHERE name = ? ORDER BY number DESC LIMIT 1"
    row = connection.execute(query, (key,)).fetchone()
    if row is None:
        return 0, GENESIS
    number, link = row
    if type(number) is not int or type(link) is not bytes:
        raise sqlite3.DatabaseError("a journal holds values of other types")
    return number + 1, link


def index(keys: Keys, name: str) -> bytes:
    """The catalogue's keyed index of a journal's name."""
    return keys.mac("journal name", name.encode())


def _key(keys: Keys, name: str) -> bytes:
    return keys.derive("journal", name.encode())


def _context(keys: Keys, name: str, number: int, before: bytes) -> bytes:
    return format.context("journal", keys.tenant_id, name, number, before)


def _link(before: bytes, sealed: bytes) -> bytes:
    return hashlib.sha256(format.context("link", before, sealed)).digest()
