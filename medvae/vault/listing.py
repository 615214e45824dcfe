"""What a tenant holds, from a reading of its catalogue that is proven to be whole."""

from __future__ import annotations

from medvae.vault import objects
from medvae.vault.batch import Batch
from medvae.vault.session import Session


def names(session: Session, batch: Batch | None, kind: str) -> list[str]:
    """The names of all named objects of a kind, sorted; with what `batch` has not committed yet."""
    with session.read_tx() as (connection, keys):
        named = session.index(connection).of_kind(kind)
        rows = {row.object_id: row for row in named if row.lookup is not None}
        for object_id, row in (batch.pending() if batch else {}).items():
            rows.pop(object_id, None)
            if row is not None and row.kind == kind and row.lookup is not None:
                rows[object_id] = row
        return sorted(objects.open_row(keys, row)[1] or "" for row in rows.values())


def ids(session: Session, kind: str) -> list[str]:
    """The ids of all committed objects of a kind, sorted."""
    with session.read_tx() as (connection, _):
        return [row.object_id.hex() for row in session.index(connection).of_kind(kind)]


def inventory(session: Session) -> dict[str, dict[str, str | None]]:
    """See `Tenant.inventory`."""
    session.check_sound()
    with session.read_tx() as (connection, keys):
        listed: dict[str, dict[str, str | None]] = {}
        for _, row in sorted(session.index(connection).rows.items()):
            name = None if row.lookup is None else objects.open_row(keys, row)[1]
            listed.setdefault(row.kind, {})[row.object_id.hex()] = name
    return listed
