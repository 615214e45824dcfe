"""New keys: a new epoch for everybody (`rotate`), new data keys (`reseal`).

A rotation survives a crash at any point. The ring first holds both epochs; then one
catalogue transaction re-wraps every row; then the ring drops the old epoch. The catalogue
says which epoch counts, so whatever was done at the crash, one of the two opens everything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from medvae.errors import IntegrityError
from medvae.progress import SILENT, Progress
from medvae.vault import catalogue, format, journal, keyring, objects
from medvae.vault.catalogue import Row, row_context
from medvae.vault.heads import Change
from medvae.vault.keys import Keys
from medvae.vault.providers import Recipient
from medvae.vault.scan import scan
from medvae.vault.session import Session

# A journal: the epoch of each reseal, then "done". Every head commits to it, so that nobody
# without keys can make a reseal look as if it had begun, or ended.
RESEALS: Final = "reseal"
_DONE: Final = b"done"

Also = Callable[[sqlite3.Connection, Keys, Change], None]


def rotate(
    session: Session, *, recipients: Sequence[Recipient] | None = None, also: Also | None = None
) -> int:
    """Start a new epoch and destroy the old one; the caller holds the writer lock.

    recipients: those of the new epoch, by default the same. also: changes to make in the
    same transaction, before the rows are re-wrapped: rows deleted there are erased, for
    their keys are wrapped by an epoch key that no longer exists.

    Returns the number of the new epoch.
    """
    session.refresh()
    old, ring = session.keys, session.ring
    keys = Keys(old.tenant_id, old.number + 1, format.new_key(), old.root)
    widened = keyring.add_epoch(ring, keys, recipients or ring.recipients)
    keyring.save(session.folder, widened)
    try:
        with session.write_tx() as (connection, _, change):
            if also is not None:
                also(connection, old, change)
            _rewrap(connection, change, old, keys)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (keys.number,))
    except BaseException:
        session.prune()
        raise
    session.adopt(widened, keys.number)
    session.prune()
    session.catalogue.checkpoint()
    return keys.number


def reseal(session: Session, progress: Progress = SILENT) -> int:
    """Give every object a new data key and new ciphertext; returns how many it did.

    For when data keys may have leaked: re-wrapping does not help then. Starts with a
    rotation. Can be interrupted at any point; the next call goes on.
    """
    goal = _goal(session)
    if goal is None:
        goal = rotate(session, also=_begin)
    with session.read_tx() as (connection, _):
        rows = session.index(connection).rows
        todo = sorted(object_id for object_id, row in rows.items() if row.born < goal)
    progress.start("reseal", len(todo))
    for done, object_id in enumerate(todo, 1):
        _reseal_one(session, object_id)
        progress.advance(done)
    with session.write_tx() as (connection, keys, change):
        journal.append(connection, keys, change, RESEALS, _DONE)
        # An earlier version kept its goal there, where nothing vouched for it.
        connection.execute("DELETE FROM meta WHERE key = 'reseal'")
    progress.finish(f"{len(todo)} objects")
    return len(todo)


def _rewrap(connection: sqlite3.Connection, change: Change, old: Keys, new: Keys) -> None:
    def rewrapped() -> Iterator[tuple[int, bytes, bytes]]:
        for row in rows:
            old_context = row_context(old.tenant_id, row)
            after = row_context(new.tenant_id, row, new.number)
            sealed = format.wrap(new.epoch, after, objects.unwrap_row(old, row, old_context))
            renewed = replace(row, epoch=new.number, sealed=sealed)
            change.swap(old_context + row.sealed, after + sealed, renewed)
            yield new.number, sealed, row.object_id

    rows = change.rows()
    statement = "UPDATE objects SET epoch = ?, sealed = ? WHERE id = ?"
    cursor = connection.executemany(statement, rewrapped())
    if cursor.rowcount != len(rows):
        raise sqlite3.DatabaseError("a row that is to be re-wrapped is not where its id is")


def _reseal_one(session: Session, object_id: bytes) -> None:
    with session.read_tx() as (connection, keys):
        old = session.index(connection).rows[object_id]
    _, name = objects.open_row(keys, old)
    try:
        data = objects.read(keys, session.store, old)
    except FileNotFoundError:
        raise IntegrityError(f"{old.label()}: {objects.missing(old)}") from None
    row = objects.stage(keys, session.store, old.kind, data, name, old)
    session.store.publish([row.key])
    with session.write_tx() as (connection, _, change):
        _swap(connection, change, old, row)
    session.store.delete([old.key])


def _swap(connection: sqlite3.Connection, change: Change, old: Row, new: Row) -> None:
    catalogue.insert(connection, new)
    change.remove(old)
    change.add(new)


def _goal(session: Session) -> int | None:
    """The epoch that an unfinished reseal began with; None when there is none."""
    with session.read_tx() as (connection, keys):
        snapshot = scan(connection, keys)
        records = snapshot.journals.get(journal.index(keys, RESEALS), [])
        notes = [note for note, _ in journal.opened(records, keys, RESEALS)]
        snapshot.prove()
    return int(notes[-1]) if notes and notes[-1] != _DONE else None


def _begin(connection: sqlite3.Connection, keys: Keys, change: Change) -> None:
    # Inside the rotation's transaction: the epoch that it is about to begin.
    goal = catalogue.epoch_of(connection) + 1
    journal.append(connection, keys, change, RESEALS, str(goal).encode())
