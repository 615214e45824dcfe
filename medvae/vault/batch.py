"""A transaction over objects: everything in it becomes visible in one commit, or nothing.

Staged files belong to nobody until `commit`: publish them -> one catalogue transaction ->
delete the files that nothing refers to any more. The caller holds the writer lock.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator

from medvae import space
from medvae.errors import AccessError, IntegrityError, NotFoundError, UsageError
from medvae.vault import catalogue, format, objects, rotation
from medvae.vault.catalogue import Row
from medvae.vault.heads import Change
from medvae.vault.keys import Keys
from medvae.vault.session import Session


class Batch:
    """Pending changes, seen by reads through the same tenant handle before the commit."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # The row before the batch (None: new) and after it (None: deleted), by id.
        self._before: dict[bytes, Row | None] = {}
        self._after: dict[bytes, Row | None] = {}
        self._names: dict[bytes, bytes | None] = {}
        self._erases = False

    def put(self, kind: str, data: format.Buffer, name: str | None, replace: bool) -> Row:
        """Seal and stage; see Tenant.put."""
        old = self.named(kind, name) if name is not None else None
        if old is not None and not replace:
            raise UsageError(f"{kind} {name} exists already: choose another name, or delete it")
        session = self._session
        with self._disk(), space.writing(session.folder, len(data)):
            row = objects.stage(session.keys, session.store, kind, data, name, old)
        self._set(row.object_id, row)
        if row.lookup is not None:
            self._names[row.lookup] = row.object_id
        return row

    def delete(self, kind: str, object_id: bytes) -> None:
        """Mark as deleted; the commit destroys its key."""
        row = self.row(object_id)
        if row is None or row.kind != kind:
            raise NotFoundError(f"there is no {kind} {object_id.hex()} in this tenant")
        self._set(object_id, None)
        if row.lookup is not None:
            self._names[row.lookup] = None
        self._erases = True

    def row(self, object_id: bytes) -> Row | None:
        """The row as this batch would leave it."""
        if object_id in self._after:
            return self._after[object_id]
        return find_id(self._session, object_id)

    def named(self, kind: str, name: str) -> Row | None:
        """The row of a name as this batch would leave it."""
        lookup = objects.lookup(self._session.keys, kind, name)
        if lookup in self._names:
            object_id = self._names[lookup]
            return None if object_id is None else self.row(object_id)
        return find_lookup(self._session, lookup)

    def is_staged(self, row: Row) -> bool:
        """Whether the row's file is still waiting to be published."""
        return self._after.get(row.object_id) == row

    def pending(self) -> dict[bytes, Row | None]:
        """Rows as this batch would leave them, by id; None for a deleted one."""
        return dict(self._after)

    def abandon(self) -> None:
        """Forget everything."""
        self._session.store.discard([row.key for row in self._after.values() if row])
        self._after.clear()

    def commit(self) -> None:
        """Make all of it visible.

        Raises:
            AccessError: the disk or the store refuses; nothing has changed then.
        """
        if not self._after:
            return
        session = self._session
        fresh = [row.key for row in self._after.values() if row is not None]
        try:
            with self._disk():
                session.store.publish(fresh)
            if self._erases:
                rotation.rotate(session, also=self._apply)
            else:
                with session.write_tx() as (connection, keys, change):
                    self._apply(connection, keys, change)
        except BaseException:
            self._withdraw(fresh)
            raise
        stale = [row.key for row in self._before.values() if row is not None]
        session.store.delete([key for key in stale if key not in fresh])

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise AccessError(
                f"tenant {self._session.name} cannot be written to ({reason}): nothing was "
                f"changed; check the space and the permissions of {self._session.folder}"
            ) from error

    def _set(self, object_id: bytes, row: Row | None) -> None:
        if object_id in self._after:
            earlier = self._after[object_id]
            if earlier is not None:
                self._session.store.discard([earlier.key])
        else:
            self._before[object_id] = find_id(self._session, object_id)
        self._after[object_id] = row

    def _apply(self, connection: sqlite3.Connection, _keys: Keys, change: Change) -> None:
        for object_id in self._after:
            old = self._before[object_id]
            if old is not None:
                catalogue.remove(connection, object_id)
                change.remove(old)
        for row in self._after.values():
            if row is not None:
                catalogue.insert(connection, row)
                change.add(row)

    def _withdraw(self, fresh: list[str]) -> None:
        """Take back files of a failed commit, unless the commit succeeded after all."""
        session = self._session
        with session.read_tx() as (connection, _):
            stored_keys = {row.key for row in session.index(connection).rows.values()}
        unused = [key for key in fresh if key not in stored_keys]
        session.store.discard(unused)
        session.store.delete(unused)


def find_id(session: Session, object_id: bytes) -> Row | None:
    """The committed row of an id."""
    try:
        with session.read_tx() as (connection, _):
            return session.index(connection).rows.get(object_id)
    except IntegrityError as error:
        raise IntegrityError(f"object {object_id.hex()} is not read: {error}") from error


def find_lookup(session: Session, lookup: bytes) -> Row | None:
    """The committed row of a name's keyed index."""
    with session.read_tx() as (connection, _):
        return session.index(connection).named(lookup)


class Transaction:
    """The batch that a thread has begun on a tenant's handle; other threads are not in it."""

    def __init__(self, session: Session, wait: float) -> None:
        """wait: seconds for another writer to be done."""
        self._session = session
        self._wait = wait
        self._batch: Batch | None = None
        self._thread = 0

    def own(self) -> Batch | None:
        """That of this thread, if it has begun one."""
        return self._batch if self._thread == threading.get_ident() else None

    @contextlib.contextmanager
    def begun(self) -> Iterator[Batch]:
        """This thread's batch; a new one is committed at the end of the block, or given up."""
        inside = self.own()
        if inside is not None:
            yield inside
            return
        with self._session.writer(self._wait):
            batch = Batch(self._session)
            self._batch, self._thread = batch, threading.get_ident()
            try:
                yield batch
            except BaseException:
                batch.abandon()
                raise
            finally:
                self._batch, self._thread = None, 0
            batch.commit()
