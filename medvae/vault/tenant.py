"""An open tenant: the handle that all work with a tenant's data goes through.

It is bound to the tenant's keys when it is opened. None of its methods takes a tenant or a
path, so no call can mix two tenants up.
"""

from __future__ import annotations

import base64
import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from medvae.errors import NotFoundError, UsageError
from medvae.progress import SILENT, Progress
from medvae.vault import (
    anchor,
    audit,
    format,
    keyring,
    listing,
    objects,
    recipients,
    repair,
    rotation,
    signing,
)
from medvae.vault import verify as checking
from medvae.vault.approvers import Approvals
from medvae.vault.audit import LogReport
from medvae.vault.batch import Transaction
from medvae.vault.journal import Journal
from medvae.vault.naming import check_object, raw_id
from medvae.vault.providers import Recipient
from medvae.vault.reading import Reader
from medvae.vault.repair import Collected, RepairReport
from medvae.vault.session import Session
from medvae.vault.verify import VerifyReport

_WAIT_SECONDS: Final = 10.0
# A rotation is over by then; an ingest or a training that holds the lock for hours is not.
_BRIEF_SECONDS: Final = 2.0
_DAY: Final = 86400.0


class Tenant:
    """See the module. Made by `Vault.open` and `Vault.create_tenant`.

    Safe to use from several threads. After a fork the child may read and record; it does
    not hold the parent's writer lock.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._transaction = Transaction(session, _WAIT_SECONDS)
        self._reader = Reader(session, self._transaction)

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self._session.name

    @property
    def root(self) -> Path:
        """The tenant's folder; only for messages and for backups."""
        return self._session.folder

    @property
    def epsilon_limit(self) -> float:
        """The largest epsilon that may be spent on a patient of this tenant."""
        return self._session.ring.epsilon_limit

    @property
    def delta(self) -> float:
        """The delta of every account of this tenant, in [1e-15, 1e-5]; fixed at its creation."""
        delta = self._session.ring.delta
        return keyring.DEFAULT_DELTA if delta is None else delta

    @property
    def epoch(self) -> int:
        """The number of the current epoch."""
        return self._session.keys.number

    def close(self) -> None:
        """Close the catalogue; the handle must not be used afterwards."""
        self._session.close()

    # Objects

    def put(
        self, kind: str, data: format.Buffer, *, name: str | None = None, replace: bool = False
    ) -> str:
        """Seal an object and return its id (32 hex digits).

        A name is unique among the objects of its kind. With `replace` an object of that
        name gets the new contents under the same id. Durable when this returns, or, inside
        `transaction`, when that ends.

        Raises:
            UsageError: the name exists and `replace` is false, or kind or name is not valid.
            AccessError: another process is writing, or the disk refuses.
        """
        check_object(kind, name)
        with self._transaction.begun() as batch:
            return batch.put(kind, data, name, replace).object_id.hex()

    def get(self, kind: str, object_id: str) -> bytes:
        """The contents of an object, authenticated as a whole before any is returned.

        Raises:
            NotFoundError: there is no such object of that kind.
            IntegrityError: it is damaged; the message names it and the reason.
        """
        return bytes(self.get_buffer(kind, object_id))

    def get_buffer(self, kind: str, object_id: str) -> bytearray:
        """`get` without the last copy: for volumes on their way into an array."""
        return self._reader.read(kind, raw_id(kind, object_id))

    def get_into(self, kind: str, object_id: str, buffer: bytearray | memoryview) -> int:
        """`get` into the beginning of a buffer that the caller uses again and again.

        Returns the number of bytes. On failure that part of the buffer is zeros.

        Raises:
            UsageError: the buffer is smaller than `size`. Else as `get`.
        """
        raw = raw_id(kind, object_id)
        size = objects.plain_size(self._reader.row(kind, raw))
        view = memoryview(buffer).cast("B")
        if len(view) < size:
            raise UsageError(f"{kind} {object_id} needs {size} bytes, the buffer has {len(view)}")
        return self._reader.retried(kind, raw, functools.partial(objects.read_into, out=view))

    def get_named(self, kind: str, name: str) -> bytes:
        """The contents of a named object; raises as `get`."""
        check_object(kind, name)
        row = self._reader.named(kind, name)
        if row is None:
            raise NotFoundError(f"there is no {kind} {name} in tenant {self.name}")
        return bytes(self._reader.read(kind, row.object_id))

    def find(self, kind: str, name: str) -> str | None:
        """The id of a named object, or None."""
        check_object(kind, name)
        row = self._reader.named(kind, name)
        return None if row is None else row.object_id.hex()

    def names(self, kind: str) -> list[str]:
        """The names of all named objects of a kind, sorted.

        Raises:
            IntegrityError: a catalogue row was changed.
        """
        return listing.names(self._session, self._transaction.own(), kind)

    def ids(self, kind: str) -> list[str]:
        """The ids of all objects of a kind, sorted."""
        return listing.ids(self._session, kind)

    def inventory(self) -> dict[str, dict[str, str | None]]:
        """All committed objects, proven complete: kind -> id -> name, or None.

        What is to be destroyed, and what a deletion must spare, is taken from here: it comes
        from one reading of the whole catalogue that fits its newest head.

        Raises:
            IntegrityError: rows were removed, added, changed, or hidden from an index.
        """
        return listing.inventory(self._session)

    def size(self, kind: str, object_id: str) -> int:
        """Bytes of an object's contents. Raises NotFoundError."""
        return objects.plain_size(self._reader.row(kind, raw_id(kind, object_id)))

    def delete(self, kind: str, object_id: str) -> None:
        """Erase an object: its key is gone, also from backups of the catalogue.

        The wrapped data key is deleted, the survivors are re-wrapped into a new epoch, and
        the old epoch's key is destroyed. Delete many objects in one `transaction`.

        Raises:
            NotFoundError: there is no such object of that kind.
        """
        with self._transaction.begun() as batch:
            batch.delete(kind, raw_id(kind, object_id))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All puts and deletes in the block become visible in one commit, or none does.

        Holds the writer lock. A transaction inside another is part of it. Journals are not
        part of it: a record is durable at once.
        """
        with self._transaction.begun():
            yield

    @contextlib.contextmanager
    def writer(self, wait: float = _BRIEF_SECONDS) -> Iterator[None]:
        """Be the tenant's only writer; the lock is released even if the process dies.

        Raises:
            AccessError: another one writes; names its process id.
        """
        with self._session.writer(wait):
            yield

    # Keyed functions of the tenant

    def pseudonym(self, source: str) -> str:
        """A stable pseudonym, "S" and 16 base32 characters (80 bits).

        Formal guarantee: HMAC-SHA256 under a key of this tenant; without it, nobody can
        test a guess of `source`, nor link the pseudonyms of two tenants.
        """
        mac = self._session.keys.mac("pseudonym", source.encode())
        return "S" + base64.b32encode(mac[:10]).decode()

    def digest(self, data: format.Buffer, purpose: str) -> str:
        """A keyed fingerprint (HMAC-SHA256, hex); different purposes do not compare."""
        return self._session.keys.mac(f"digest {purpose}", data).hex()

    def derive(self, purpose: str, *parts: bytes) -> bytes:
        """A 32-byte key for the caller, by HKDF-SHA256 from the tenant's stable root."""
        return self._session.keys.derive("caller", purpose.encode(), *parts)

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of a release, 64 bytes."""
        return signing.sign(self._session.keys, data)

    def public_key(self) -> bytes:
        """The key that verifies it, PEM."""
        return signing.public_key(self._session.keys)

    @property
    def approvals(self) -> Approvals:
        """How many approvals a release needs, and who can give them."""
        return Approvals(self._session)

    # Journals and the audit log

    def journal(self, name: str) -> Journal:
        """An append-only journal; made by its first record.

        Raises:
            UsageError: the name is kept for the vault's own audit log or its reseals.
        """
        if name in (audit.NAME, rotation.RESEALS):
            raise UsageError(
                f"journal {name} is the vault's own (the audit log is written with "
                "Tenant.record only): choose another name"
            )
        return Journal(self._session, name)

    def record(self, event: str, *, outcome: str = "success", **fields: Any) -> None:
        """Append an event to the audit log; failures and refusals are events too.

        fields: JSON values. They are sealed, but must not hold patients' data all the same.

        Raises:
            UsageError: `outcome` is not one of success, minor, failure, major, refused.
        """
        if outcome not in audit.OUTCOMES:
            raise UsageError(f"outcome {outcome!r} is not one of {', '.join(audit.OUTCOMES)}")
        audit.record(self._session, event, outcome, fields)

    def events(self) -> list[dict[str, Any]]:
        """The audit log, oldest first. Raises IntegrityError when it was changed."""
        return audit.events(self._session)

    def verify_log(self) -> LogReport:
        """Check the audit log's chain and signatures."""
        return audit.verify(self._session)

    def export_log(self, style: str = "json") -> Iterator[str]:
        """The audit log as lines: "json", or "syslog" (RFC 5424)."""
        from medvae.vault import export

        return export.lines(self._session, style)

    def anchor(self) -> str:
        """A signed line that names the present state; keep it away from the vault."""
        return anchor.make(self._session)

    def check_anchor(self, line: str) -> None:
        """Raises IntegrityError when the tenant was rolled back to before an anchor."""
        anchor.check(self._session, line)

    # Care

    def verify(
        self,
        *,
        read_data: bool = False,
        only: set[str] | None = None,
        progress: Progress = SILENT,
    ) -> VerifyReport:
        """Check catalogue, journals and files; with `read_data` open every object.

        only: ids of the objects to check.
        """
        return checking.verify(self._session, read_data=read_data, only=only, progress=progress)

    def repair(self, progress: Progress = SILENT) -> RepairReport:
        """Move damaged files aside and say what is lost; nothing is overwritten."""
        with self._session.writer(_WAIT_SECONDS):
            return repair.repair(self._session, progress)

    def accept_catalogue(self) -> int:
        """Go on from a catalogue that is older than the key ring counts, ledger excepted.

        For a backup of the catalogue that was put back without its key ring. Returns how many
        commits are given up at least.

        Raises:
            IntegrityError: the catalogue is not whole, or a ledger would become shorter.
        """
        with self._session.writer(_WAIT_SECONDS):
            return repair.accept(self._session)

    def gc(self, older_than: float = _DAY) -> Collected:
        """Remove files that nothing refers to, older than so many seconds."""
        with self._session.writer(_WAIT_SECONDS):
            return repair.collect(self._session, older_than)

    def rotate(self) -> int:
        """New epoch key, every data key re-wrapped; returns the epoch's number."""
        with self._session.writer(_WAIT_SECONDS):
            number = rotation.rotate(self._session)
            audit.record(self._session, "keys rotate", "success", {"epoch": number})
        return number

    def reseal(self, progress: Progress = SILENT) -> int:
        """New data keys for all objects; resumable. Returns how many it did."""
        with self._session.writer(_WAIT_SECONDS):
            count = rotation.reseal(self._session, progress)
            audit.record(self._session, "keys reseal", "success", {"objects": count})
        return count

    def recipients(self) -> list[Recipient]:
        """Who can open this tenant."""
        return list(self._session.ring.recipients)

    def add_recipient(self, recipient: Recipient) -> None:
        """Let another key open this tenant, from the current epoch on."""
        with self._session.writer(_WAIT_SECONDS):
            recipients.add(self._session, recipient)

    def remove_recipient(self, fingerprint: str) -> int:
        """Take a key away: a new epoch that is not wrapped to it. Returns its number.

        Raises:
            UsageError: fewer than two would be left, or it is the key in use.
            NotFoundError: there is no such recipient.
        """
        with self._session.writer(_WAIT_SECONDS):
            return recipients.remove(self._session, fingerprint)
