"""The rows of a catalogue in memory, once a reading of all of it was proven.

SQLite's own indexes are never asked what exists: whoever can write to the disk can make them
hide or add entries, and no head commits to their contents. This index is built from the
reading that the newest head commits to, and follows the commits of its own process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medvae.vault.catalogue import Row

GENESIS = bytes(32)
Tail = tuple[int, bytes]


@dataclass
class Index:
    """What a tenant holds under one head.

    head: the link of that head. rows: objects by id. lookups: ids by the keyed index of a name.
    tails: the number of records and the newest link of each journal, by its keyed index.
    """

    head: bytes = GENESIS
    rows: dict[bytes, Row] = field(default_factory=dict)
    lookups: dict[bytes, bytes] = field(default_factory=dict)
    tails: dict[bytes, Tail] = field(default_factory=dict)

    def apply(
        self, head: bytes, rows: Mapping[bytes, Row | None], tails: Mapping[bytes, Tail]
    ) -> None:
        """Follow a commit: rows as it left them (None: gone), and the tails of journals."""
        for object_id in rows:
            old = self.rows.pop(object_id, None)
            if old is not None and old.lookup is not None:
                self.lookups.pop(old.lookup, None)
        for object_id, row in rows.items():
            if row is not None:
                self._add(object_id, row)
        self.tails.update(tails)
        self.head = head

    def named(self, lookup: bytes) -> Row | None:
        """The row of a name's keyed index."""
        object_id = self.lookups.get(lookup)
        return None if object_id is None else self.rows[object_id]

    def of_kind(self, kind: str) -> list[Row]:
        """The rows of a kind, by id."""
        rows = [row for row in self.rows.values() if row.kind == kind]
        return sorted(rows, key=lambda row: row.object_id)

    def _add(self, object_id: bytes, row: Row) -> None:
        self.rows[object_id] = row
        if row.lookup is not None:
            self.lookups[row.lookup] = object_id
