"""The state of a catalogue, committed to with every transaction.

Each transaction appends a head. It seals, under the tenant's root, a multiset hash of all
rows (objects and journal records): the sum modulo 2^256 of an HMAC of each (MSet-Add-Hash,
Clarke et al., ASIACRYPT 2003; sealed, because known sums would help to forge). And it
chains: head_n = SHA-256(head_(n-1), n, sealed_n). So rows that were removed, added or put
back by somebody without keys are found by `verify`; and a whole store put back, or forked,
is found by anybody who kept one earlier head (an anchor).
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag

from medvae.errors import IntegrityError
from medvae.vault import format
from medvae.vault.catalogue import Row, row_context
from medvae.vault.index import GENESIS, Index, Tail
from medvae.vault.keys import Keys

_MODULUS: Final = 1 << 256


@dataclass(frozen=True)
class Head:
    """One head of the chain."""

    sequence: int
    sealed: bytes
    head: bytes


class Change:
    """The rows that a transaction adds and takes away, beside what was there before it."""

    def __init__(self, keys: Keys, index: Index | None = None) -> None:
        self._keys = keys
        self._mac_key = keys.derive("state row")
        self._index = Index() if index is None else index
        self._rows: dict[bytes, Row | None] = {}
        self._tails: dict[bytes, Tail] = {}
        self.delta = 0

    def rows(self) -> list[Row]:
        """Every row as this transaction would leave it now, by id."""
        rows = {**self._index.rows, **self._rows}
        return [rows[key] for key in sorted(rows) if rows[key] is not None]  # type: ignore[misc]

    def tail(self, name: bytes) -> Tail:
        """How many records the journal `name` has by now, and the newest link."""
        return self._tails.get(name) or self._index.tails.get(name, (0, GENESIS))

    def add(self, row: Row) -> None:
        """`row` is in the catalogue now."""
        self._rows[row.object_id] = row
        self.delta += self._hash(row_context(self._keys.tenant_id, row) + row.sealed)

    def remove(self, row: Row) -> None:
        """`row` no longer is."""
        self._rows[row.object_id] = None
        self.delta -= self._hash(row_context(self._keys.tenant_id, row) + row.sealed)

    def swap(self, old_row: bytes, new_row: bytes, row: Row) -> None:
        """`remove` and `add` in one, of rows given as their context and sealed record."""
        self._rows[row.object_id] = row
        self.delta += self._hash(new_row) - self._hash(old_row)

    def add_record(self, name: bytes, number: int, sealed: bytes, link: bytes) -> None:
        """A journal record was appended."""
        self._tails[name] = number + 1, link
        self.delta += self._hash(format.context("record", name, number, sealed, link))

    def total(self) -> int:
        """The sum of the recorded changes, modulo 2^256."""
        return self.delta % _MODULUS

    def _hash(self, data: bytes) -> int:
        return int.from_bytes(hmac.digest(self._mac_key, data, hashlib.sha256), "big")

    def commit(self, connection: sqlite3.Connection) -> Head:
        """Append the head of this transaction; `update_index` when that is durable.

        Raises:
            IntegrityError: the last head is not one of this tenant's.
        """
        newest = last(connection)
        total = 0 if newest is None else open_state(self._keys, newest, previous(connection))
        total = (total + self.delta) % _MODULUS
        parent = GENESIS if newest is None else newest.head
        head = _seal(self._keys, 1 if newest is None else newest.sequence + 1, parent, total)
        connection.execute(
            "INSERT INTO heads VALUES(?, ?, ?)", (head.sequence, head.sealed, head.head)
        )
        return head

    def update_index(self, head: Head) -> None:
        """Let the index follow this transaction, whose commit is durable."""
        self._index.apply(head.head, self._rows, self._tails)


def last(connection: sqlite3.Connection) -> Head | None:
    """The newest head."""
    row = connection.execute("SELECT * FROM heads ORDER BY sequence DESC LIMIT 1").fetchone()
    return None if row is None else Head(*row)


def previous(connection: sqlite3.Connection) -> bytes:
    """The link before the newest head."""
    query = "SELECT head FROM heads ORDER BY sequence DESC LIMIT 1 OFFSET 1"
    row = connection.execute(query).fetchone()
    if row is None:
        return GENESIS
    if type(row[0]) is not bytes:
        raise sqlite3.DatabaseError("a head is no bytes")
    return row[0]


def open_state(keys: Keys, head: Head, parent: bytes) -> int:
    """The sum sealed in a head.

    Raises:
        IntegrityError: it was not made by this tenant, or was changed.
    """
    try:
        sealed = format.unwrap(
            keys.derive("state"), _context(keys, head.sequence, parent), head.sealed
        )
    except (InvalidTag, ValueError, TypeError):
        raise IntegrityError(
            f"head {head.sequence} of the catalogue does not open with this tenant's keys: the "
            "catalogue was changed outside medvae, restore it from a backup"
        ) from None
    return int.from_bytes(sealed, "big")


def chain(connection: sqlite3.Connection) -> Iterator[tuple[Head, bytes]]:
    """Every head with the link before it, checked to form one chain; needs no key.

    Raises:
        IntegrityError: a head is missing or was changed.
    """
    parent, expected = GENESIS, 1
    for record in connection.execute("SELECT * FROM heads ORDER BY sequence"):
        head = Head(*record)
        typed = type(head.sealed) is type(head.head) is bytes
        if (
            not typed
            or head.sequence != expected
            or head.head != link(parent, head.sequence, head.sealed)
        ):
            raise IntegrityError(
                f"head {expected} of the catalogue is missing or was changed: restore the "
                "catalogue from a backup"
            )
        yield head, parent
        parent, expected = head.head, expected + 1


def link(parent: bytes, sequence: int, sealed: bytes) -> bytes:
    """The chain value of a head."""
    return hashlib.sha256(format.context("head", parent, sequence, sealed)).digest()


def _seal(keys: Keys, sequence: int, parent: bytes, total: int) -> Head:
    bound = _context(keys, sequence, parent)
    sealed = format.wrap(keys.derive("state"), bound, total.to_bytes(32, "big"))
    return Head(sequence, sealed, link(parent, sequence, sealed))


def _context(keys: Keys, sequence: int, parent: bytes) -> bytes:
    return format.context("state", keys.tenant_id, sequence, parent)
