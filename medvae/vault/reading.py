"""Objects of an open tenant found and read, also while another process writes or rotates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from medvae.errors import IntegrityError, NotFoundError
from medvae.vault import objects
from medvae.vault.batch import Transaction, find_id, find_lookup
from medvae.vault.catalogue import Row
from medvae.vault.session import Session

Result = TypeVar("Result")


class Reader:
    """What is committed, and what the thread's own open transaction has put beside it."""

    def __init__(self, session: Session, transaction: Transaction) -> None:
        self._session, self._transaction = session, transaction

    def named(self, kind: str, name: str) -> Row | None:
        """The row of a named object; None where there is none."""
        batch = self._transaction.own()
        if batch is not None:
            return batch.named(kind, name)
        return find_lookup(self._session, objects.lookup(self._session.keys, kind, name))

    def row(self, kind: str, object_id: bytes) -> Row:
        """The row of an object. Raises NotFoundError."""
        batch = self._transaction.own()
        row = batch.row(object_id) if batch is not None else find_id(self._session, object_id)
        if row is None or row.kind != kind:
            raise NotFoundError(
                f"there is no {kind} {object_id.hex()} in tenant {self._session.name}"
            )
        return row

    def read(self, kind: str, object_id: bytes) -> bytearray:
        """The contents of an object, authenticated.

        Raises:
            NotFoundError: there is no such object of that kind.
            IntegrityError: it is damaged or its file is missing.
        """
        return self.retried(kind, object_id, objects.read)

    def retried(self, kind: str, object_id: bytes, action: Callable[..., Result]) -> Result:
        """`action(keys, store, row, staged=...)`, again if a writer came in between.

        Raises:
            NotFoundError, IntegrityError: as `read`.
        """
        session, batch = self._session, self._transaction.own()
        row = self.row(kind, object_id)
        while True:
            staged = batch is not None and batch.is_staged(row)
            try:
                return action(session.keys, session.store, row, staged=staged)
            except (FileNotFoundError, IntegrityError) as error:
                # A writer may have replaced or re-wrapped it since the row was read.
                newer = self.row(kind, object_id)
                if newer == row:
                    if isinstance(error, IntegrityError):
                        raise
                    raise IntegrityError(f"{row.label()}: {objects.missing(row)}") from None
                row = newer
