"""An unlocked tenant: its keys, catalogue, byte store and lock, held together.

`read_tx` and `write_tx` are the only ways to the catalogue. They see to it that the keys in
hand are those of the catalogue's epoch (another process may have rotated them), and that
every change ends in a head. What exists is answered from `index` only: the rows in memory
after a reading of the whole catalogue that fits its newest head.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from medvae.errors import AccessError, IntegrityError
from medvae.vault import copied, fileio, format, heads, keyring, tally
from medvae.vault.bytestore import ByteStore
from medvae.vault.catalogue import Catalogue, check_schema, epoch_of
from medvae.vault.copied import CopiedCatalogue, Copy
from medvae.vault.heads import Change
from medvae.vault.index import Index
from medvae.vault.keyring import Keyring
from medvae.vault.keys import Keys
from medvae.vault.lock import WriterLock
from medvae.vault.providers import Provider
from medvae.vault.scan import scan
from medvae.vault.stores import LOCAL, open_store

_TRIES: Final = 5


def _version(connection: sqlite3.Connection) -> int:
    """Another number whenever another connection has changed the file."""
    (number,) = connection.execute("PRAGMA data_version").fetchone()
    return int(number)


class Session:
    """See the module. Bound to one tenant and one provider for its whole life."""

    def __init__(
        self, folder: Path, name: str, provider: Provider, copy: Copy | None = None
    ) -> None:
        """copy: what stands for the folder's key ring and catalogue, which are then not read; the
        tenant is for reading, and the folder holds no more than its sealed objects.
        """
        self.folder = folder
        self.name = name
        self.provider = provider
        self._copy = copy
        if copy is None or copy.store == LOCAL:
            fileio.check_private(folder, f"the folder of tenant {name}")
        self.ring = self._load()
        self.catalogue = (
            Catalogue(folder, name) if copy is None else CopiedCatalogue(copy.catalogue, name)
        )
        self.lock = WriterLock(folder, name)
        self._cleared = False
        self._sound = False
        self._index: Index | None = None
        self._counted: Keyring | None = None
        self._seen: tuple[sqlite3.Connection, int] | None = None
        try:
            self.keys = self._unlock_current()
            if copy is not None and self.ring.store != copy.store:
                raise AccessError(
                    f"the key ring names the store {self.ring.store}, and {copy.store} was "
                    "expected: nothing is read from there"
                )
            self.store: ByteStore = open_store(self.ring.store, folder, self.ring.tenant_id)
            self._check_catalogue()
        except BaseException:
            self.catalogue.close()
            raise

    @contextlib.contextmanager
    def read_tx(self) -> Iterator[tuple[sqlite3.Connection, Keys]]:
        """A snapshot of the catalogue and the keys of its epoch."""
        while True:
            self._prepare()
            with self.catalogue.reading() as connection:
                # A rotation between the two: the keys are not of this snapshot, look again.
                if epoch_of(connection) == self.keys.number:
                    yield connection, self.keys
                    return

    @contextlib.contextmanager
    def write_tx(self) -> Iterator[tuple[sqlite3.Connection, Keys, Change]]:
        """One transaction; the rows recorded in the Change go into its head.

        Raises:
            IntegrityError: the catalogue is not what its newest head commits to.
        """
        self.check_sound()
        self._prepare()
        with self.catalogue.exclusive():
            with self.catalogue.writing() as connection:
                if epoch_of(connection) != self.keys.number:  # rotated since: nobody can now
                    self.adopt(self._load(), epoch_of(connection))
                change = Change(self.keys, self.index(connection))
                yield connection, self.keys, change
                head = change.commit(connection)
            change.update_index(head)

    def index(self, connection: sqlite3.Connection) -> Index:
        """The rows of a snapshot, proven: built again where another process has committed.

        Valid within the `read_tx` or `write_tx` that gave the connection.

        Raises:
            IntegrityError: rows were removed, added, changed, moved or put back.
        """
        if self._index is None or not self._is_current(connection, self._index):
            self._index = None
            snapshot = scan(connection, self.keys)
            snapshot.prove()
            snapshot.prove_journals(connection)
            if self._counted is not None:
                tally.check_all(self._counted, snapshot)
            self._index, self._seen = snapshot.index(), (connection, _version(connection))
        return self._index

    def _is_current(self, connection: sqlite3.Connection, index: Index) -> bool:
        """Whether nobody but this process has written since the index was proven."""
        newest = heads.last(connection)
        same = newest is not None and newest.head == index.head
        return same and self._seen == (connection, _version(connection))

    def _prepare(self) -> None:
        """Keys of the catalogue's epoch; the ring as it was before the snapshot to come.

        A commit that is made between the two is in the catalogue only, never in the ring only.
        """
        self.refresh()
        with self.catalogue.reading() as connection:
            current = self._index is not None and self._is_current(connection, self._index)
        if not current:
            self._counted = self.stored_ring()

    @contextlib.contextmanager
    def writer(self, wait: float) -> Iterator[None]:
        """The tenant's single-writer lock; clears up after a writer that died.

        Raises:
            AccessError: another writer holds it longer than `wait` seconds, or the tenant is open
                for reading alone.
        """
        if self._copy is not None:
            raise copied.refusal(self.name)
        crashed = self.lock.acquire(wait)
        outermost = not self.lock.nested
        try:
            if outermost:
                # Another process may have changed it, also within one epoch.
                self.refresh()
                self.ring = self.stored_ring()
            # A power loss may take the traces of a crash with it: look once in any case.
            if crashed or not self._cleared:
                self.clear_up()
                self._cleared = True
            yield
            if outermost:
                self.count_commits()
        finally:
            self.lock.release()

    def count_if_idle(self) -> None:
        """`count_commits`, unless somebody writes, who will do it at the end."""
        if self._copy is not None:
            return
        try:
            crashed = self.lock.acquire(0.0)
        except AccessError:
            return
        try:
            if crashed:
                # The lock's trace of a writer that died is gone now: nobody else would clear up.
                self.clear_up()
            if not self.lock.nested:
                self.count_commits()
        finally:
            self.lock.release()

    def count_commits(self) -> None:
        """Count the newest commit in the key ring; the caller holds the writer lock.

        From then on neither an older `catalogue.db` nor the loss of its write-ahead log passes
        for the truth: two files would have to be put back.

        Raises:
            AccessError: the disk refuses; what was committed stays.
        """
        self.catalogue.checkpoint()
        try:
            # Within a write transaction: whatever became of the lock's file, one at a time.
            with self.catalogue.writing() as connection:
                ring = self.stored_ring()
                counted = tally.counting_commits(ring, connection)
                if counted != ring:
                    keyring.save(self.folder, keyring.signed(counted, self.keys))
        except OSError as error:
            raise AccessError(
                f"the key ring {self.folder / keyring.FILE} cannot be written "
                f"({error.strerror or error}); what was stored is kept: check the space and the "
                "permissions, then run any command that writes"
            ) from error

    def clear_up(self) -> int:
        """Drop staged files and half a rotation; the caller holds the lock."""
        self.prune()
        # Copies of the key ring that were never put in its place: they hold wrapped epoch keys,
        # which an erasure must not leave behind.
        for path in fileio.unfinished(self.folder / keyring.FILE):
            fileio.shred(path)
        return self.store.sweep()

    def prune(self) -> None:
        """Destroy every epoch key but that of the catalogue's epoch."""
        self.refresh()
        ring = self._load()
        if len(ring.epochs) > 1:
            keyring.save(self.folder, keyring.only_epoch(ring, self.keys))
            self.adopt(self._load(), self.keys.number)

    def stored_ring(self) -> Keyring:
        """The key ring as it is on the disk now, authenticated under the tenant's root.

        Raises:
            IntegrityError: it was changed outside medvae.
        """
        ring = self._load()
        keyring.authenticate(ring, self.keys, self.provider)
        return ring

    def check_sound(self) -> None:
        """The catalogue's tables and indexes agree and are in order; looked at once.

        Raises:
            IntegrityError: they do not: an index could hide rows, a seek pass them by.
        """
        if not self._sound:
            if problem := self.catalogue.check():
                raise IntegrityError(
                    f"the catalogue of tenant {self.name} is damaged ({problem}): restore it "
                    "from a backup"
                )
            self._sound = True

    def adopt(self, ring: Keyring, number: int) -> None:
        """Take the keys of epoch `number` of `ring`."""
        keys = keyring.unlock(ring, self.provider, number)
        if hasattr(self, "keys") and keys.root != self.keys.root:
            raise IntegrityError(
                f"the key ring of tenant {self.name} was replaced by that of another tenant"
            )
        self.ring, self.keys = ring, keys

    def refresh(self) -> None:
        """Take up the epoch that the catalogue is in."""
        with self.catalogue.reading() as connection:
            number = epoch_of(connection)
        if number != self.keys.number:
            self._unlock_current()

    def _load(self) -> Keyring:
        """The key ring; nothing in it is to be trusted before it is unlocked."""
        if self._copy is None:
            return keyring.load(self.folder, self.name)
        return keyring.parse(self._copy.ring, self.name)

    def _unlock_current(self) -> Keys:
        # The ring and the catalogue are two files: read again if a rotation came between.
        for attempt in range(_TRIES):
            with self.catalogue.reading() as connection:
                number = epoch_of(connection)
            ring = self._load()
            if ring.epoch(number) is not None or attempt == _TRIES - 1:
                break
        self.adopt(ring, number)
        return self.keys

    def _check_catalogue(self) -> None:
        with self.catalogue.reading() as connection:
            check_schema(connection)
            row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
            if row is None or row[0] != format.FORMAT:
                # The ring, which is of this format and authenticated, was written with it.
                raise IntegrityError(
                    f"the catalogue of tenant {self.name} states another format than its key "
                    "ring: it was changed outside medvae, restore it from a backup"
                )
            newest = heads.last(connection)
            if newest is None:
                raise IntegrityError(
                    f"the catalogue of tenant {self.name} has lost its chain of commits: restore "
                    "it from a backup"
                )
            heads.open_state(self.keys, newest, heads.previous(connection))

    def close(self) -> None:
        """Close the catalogue."""
        self.catalogue.close()
