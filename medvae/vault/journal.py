"""Append-only journals: sealed records in a hash chain, each durable when `append` returns.

A record's seal is bound to the tenant, the journal, its number and the link before it, so
a record opens only in its place. Records live in the catalogue: an append is one SQLite
transaction, whole or absent after a power loss, and every head of the catalogue commits to
them. There is no way to change or remove one. The length of a journal is kept in the key
ring as well (tally.py), so that the catalogue alone cannot be put back to an older state.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag

from medvae.errors import AccessError, IntegrityError, UsageError
from medvae.vault import format, keyring, tally
from medvae.vault.heads import Change
from medvae.vault.index import GENESIS
from medvae.vault.keyring import Keyring
from medvae.vault.keys import Keys
from medvae.vault.scan import Record, scan

if TYPE_CHECKING:
    from medvae.vault.session import Session

_LARGEST: Final = 16 * 1024 * 1024
_WAIT_SECONDS: Final = 10.0


class _OtherLengthError(Exception):
    """The journal has another number of records than the caller has read."""


class Journal:
    """One journal of a tenant."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.name = name

    def append(self, record: bytes, *, expected: int | None = None) -> int | None:
        """Add a record; when this returns, the loss of any one file cannot take it away.

        The record is committed first and counted in the key ring next. A crash in between
        leaves a record that is not counted yet: `entries` has it, `confirm` counts it.

        expected: the number of records that the caller has read. Checked in the transaction
            that appends, so that nothing can come between the reading and the record.

        Returns the record's number, from 0; None, and nothing is added, when the journal has
        another length than `expected`.

        Raises:
            IntegrityError: a record was changed, removed, added or moved.
            AccessError: another process writes, or the disk refuses.
        """
        if len(record) > _LARGEST:
            raise UsageError(f"a journal record has at most {_LARGEST} bytes, not {len(record)}")
        session = self._session
        with session.writer(_WAIT_SECONDS):
            ring = session.stored_ring()
            try:
                with session.write_tx() as (connection, keys, change):
                    snapshot = _proven(connection, keys, ring, self.name)
                    if expected is not None and len(snapshot) != expected:
                        raise _OtherLengthError
                    number = append(connection, keys, change, self.name, record)
            except _OtherLengthError:
                return None
            self.confirm()
        return number

    def confirm(self) -> None:
        """Make sure that the loss of any one file takes no record away, after a crash too.

        Raises:
            IntegrityError, AccessError: as `append`.
        """
        session = self._session
        with session.writer(_WAIT_SECONDS):
            if not session.catalogue.checkpoint():
                raise AccessError(
                    f"another process reads the catalogue of tenant {session.name} and keeps the "
                    f"newest record of journal {self.name} in the write-ahead log: it is kept "
                    "there, run the same command again when that process is done"
                )
            # Within a write transaction: whatever became of the lock's file, one at a time.
            with session.catalogue.writing() as connection:
                ring = session.stored_ring()
                snapshot = _proven(connection, session.keys, ring, self.name)
                count, link = len(snapshot), snapshot[-1][1] if snapshot else GENESIS
                counted = tally.counted(ring, index(session.keys, self.name), count, link)
                counted = tally.counting_commits(counted, connection)
                if counted != ring:
                    keyring.save(session.folder, keyring.signed(counted, session.keys))

    def entries(self) -> list[bytes]:
        """Every record, oldest first, with the chain checked.

        Records come from the reading that is held against the catalogue's head, and are at
        least as many as the key ring counts: a ledger never reads as less spent.

        Raises:
            IntegrityError: a record was changed, removed, added or moved.
        """
        return [record for record, _ in self._read()]

    def head(self) -> str:
        """How many records there are and the newest link, "COUNT:HEX": an anchor to keep."""
        records = self._read()
        return f"{len(records)}:{(records[-1][1] if records else GENESIS).hex()}"

    def check(self, anchor: str) -> None:
        """The journal still holds everything that it held when `anchor` was its head.

        Raises:
            IntegrityError: it was rolled back or forked since.
            UsageError: `anchor` is not what `head` gives.
        """
        count, _, link = anchor.partition(":")
        if not (count.isdecimal() and len(count) <= 18) or len(link) != 2 * len(GENESIS):
            raise UsageError(f"{anchor!r} is not a journal's head: expected COUNT:HEX")
        with self._session.read_tx() as (connection, keys):
            records = scan(connection, keys).journals.get(index(keys, self.name), [])
            links = [GENESIS, *(link for _, link in opened(records, keys, self.name))]
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

    def _read(self) -> list[tuple[bytes, bytes]]:
        # The ring first: a record that is appended in between is in the catalogue only.
        ring = self._session.stored_ring()
        with self._session.read_tx() as (connection, keys):
            return _proven(connection, keys, ring, self.name)


def append(
    connection: sqlite3.Connection, keys: Keys, change: Change, name: str, record: bytes
) -> int:
    """Append within a transaction."""
    key = index(keys, name)
    number, previous = change.tail(key)
    sealed = format.wrap(_key(keys, name), _context(keys, name, number, previous), record)
    link = _link(previous, sealed)
    connection.execute("INSERT INTO journal VALUES(?, ?, ?, ?)", (key, number, sealed, link))
    change.add_record(key, number, sealed, link)
    return number


def opened(records: Sequence[Record], keys: Keys, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Each record of a journal with its link, opened in its place.

    Raises:
        IntegrityError: naming the journal and the record.
    """
    previous = GENESIS
    for expected, entry in enumerate(records):
        try:
            if entry.number != expected or entry.link != _link(previous, entry.sealed):
                raise InvalidTag
            bound = _context(keys, name, entry.number, previous)
            record = format.unwrap(_key(keys, name), bound, entry.sealed)
        except (InvalidTag, ValueError) as error:
            raise IntegrityError(
                f"journal {name}: record {expected} was changed, removed or moved; restore the "
                "catalogue from a backup"
            ) from error
        yield record, entry.link
        previous = entry.link


def index(keys: Keys, name: str) -> bytes:
    """The catalogue's keyed index of a journal's name."""
    return keys.mac("journal name", name.encode())


def _proven(
    connection: sqlite3.Connection, keys: Keys, ring: Keyring, name: str
) -> list[tuple[bytes, bytes]]:
    """Each record of a journal with its link, from a reading that is proven to be whole."""
    snapshot = scan(connection, keys)
    key = index(keys, name)
    records = list(opened(snapshot.journals.get(key, []), keys, name))
    snapshot.prove()
    snapshot.prove_journals(connection)
    tally.check(ring, key, [link for _, link in records], f"journal {name}")
    tally.check_commits(ring, snapshot)
    return records


def _key(keys: Keys, name: str) -> bytes:
    return keys.derive("journal", name.encode())


def _context(keys: Keys, name: str, number: int, previous: bytes) -> bytes:
    return format.context("journal", keys.tenant_id, name, number, previous)


def _link(previous: bytes, sealed: bytes) -> bytes:
    return hashlib.sha256(format.context("link", previous, sealed)).digest()
