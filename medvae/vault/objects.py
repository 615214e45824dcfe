"""Objects: sealing them into the byte store, opening them, saying what is wrong with them.

put: seal -> stage -> (commit: publish -> one catalogue transaction)
get: row -> data key -> size check -> unseal -> only then the bytes are handed out
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

from cryptography.exceptions import InvalidTag

from medvae.errors import IntegrityError
from medvae.vault import format
from medvae.vault.bytestore import ByteStore, hashed
from medvae.vault.catalogue import Row, row_context
from medvae.vault.keys import Keys


def lookup(keys: Keys, kind: str, name: str) -> bytes:
    """The catalogue's keyed index of a name."""
    return keys.mac("lookup", format.context(kind, name))


def stage(
    keys: Keys, store: ByteStore, kind: str, data: format.Buffer, name: str | None, old: Row | None
) -> Row:
    """Seal `data` under a new data key and stage it; returns the row to commit.

    old: the row that this one takes the place of; it gives the id, and the next version.
    """
    object_id = secrets.token_bytes(16) if old is None else old.object_id
    version = 1 if old is None else old.version + 1
    data_key = format.new_key()
    row = Row(
        object_id=object_id,
        kind=kind,
        version=version,
        lookup=None if name is None else lookup(keys, kind, name),
        size=0,
        sha256=b"",
        epoch=keys.number,
        born=keys.number,
        sealed=b"",
    )
    stored = store.stage(row.key, format.seal(data_key, object_context(keys, row), data))
    row = replace(row, size=stored.size, sha256=stored.sha256)
    return seal_row(keys, row, data_key, name)


def seal_row(keys: Keys, row: Row, data_key: bytes, name: str | None) -> Row:
    """The row under the current epoch, with its data key and name sealed into it."""
    row = replace(row, epoch=keys.number)
    record = data_key + (b"" if name is None else name.encode())
    return replace(row, sealed=format.wrap(keys.epoch, row_context(keys.tenant_id, row), record))


def open_row(keys: Keys, row: Row) -> tuple[bytes, str | None]:
    """The data key and the name of a row.

    Raises:
        IntegrityError: the row was changed, or is another tenant's or another epoch's.
    """
    record = unwrap_row(keys, row, row_context(keys.tenant_id, row))
    if row.lookup is None:
        return record, None
    name = record[format.KEY :].decode()
    if lookup(keys, row.kind, name) != row.lookup:
        raise _changed(row)
    return record[: format.KEY], name


def unwrap_row(keys: Keys, row: Row, bound: bytes) -> bytes:
    """The sealed record of a row, whose context is `bound`; raises as `open_row`."""
    try:
        return format.unwrap(keys.epoch, bound, row.sealed)
    except InvalidTag:
        raise _changed(row) from None


def _changed(row: Row) -> IntegrityError:
    return IntegrityError(
        f"{row.label()}: its catalogue row does not open with this tenant's keys, so the row was "
        f"changed, or is another tenant's or that of another epoch (epoch {row.epoch}); restore "
        "the catalogue from a backup"
    )


def object_context(keys: Keys, row: Row) -> bytes:
    """What an object's ciphertext is bound to."""
    return format.context("object", keys.tenant_id, row.kind, row.object_id, row.version)


def read(keys: Keys, store: ByteStore, row: Row, *, staged: bool = False) -> bytearray:
    """The plaintext of an object, authenticated as a whole before it is returned.

    Raises:
        IntegrityError: naming the object and what is wrong with it.
        FileNotFoundError: its file is not there (the caller knows whether that is damage).
    """
    data_key, pieces = _open(keys, store, row, staged)
    try:
        out = format.unseal(data_key, object_context(keys, row), pieces)
    except InvalidTag:
        raise IntegrityError(f"{row.label()}: {_diagnose(store, row)}") from None
    if len(out) != plain_size(row):
        raise IntegrityError(f"{row.label()}: {_diagnose(store, row)}")
    return out


def read_into(
    keys: Keys, store: ByteStore, row: Row, *, out: memoryview, staged: bool = False
) -> int:
    """`read` into the beginning of a buffer; zeroed on failure. Returns the number of bytes."""
    data_key, pieces = _open(keys, store, row, staged)
    try:
        size = plain_size(row)
        return format.unseal_into(data_key, object_context(keys, row), pieces, out[:size])
    except InvalidTag:
        raise IntegrityError(f"{row.label()}: {_diagnose(store, row)}") from None


def _open(
    keys: Keys, store: ByteStore, row: Row, staged: bool
) -> tuple[bytes, Iterator[memoryview]]:
    data_key, _ = open_row(keys, row)
    actual = row.size if staged else store.size(row.key)
    if actual is None:
        raise FileNotFoundError(row.key)
    if actual != row.size:
        raise IntegrityError(f"{row.label()}: {wrong_size(row, actual)}")
    return data_key, store.pieces(row.key, staged=staged)


def plain_size(row: Row) -> int:
    """Bytes of plaintext.

    Raises:
        IntegrityError: the catalogue's size is that of no sealed message.
    """
    try:
        return format.opened_size(row.size)
    except ValueError as error:
        raise IntegrityError(f"{row.label()}: the catalogue's size is wrong: {error}") from error


def ciphertext_damage(store: ByteStore, row: Row) -> str | None:
    """What is wrong with an object's file, judged without keys; None when nothing is."""
    try:
        actual = store.size(row.key)
        if actual is None:
            return missing(row)
        if actual != row.size:
            return wrong_size(row, actual)
        digest = hashed(store.pieces(row.key))
    except IntegrityError as error:
        return str(error)
    except FileNotFoundError:
        return missing(row)
    except OSError as error:
        return f"its file cannot be read: {error.strerror or error}"
    if digest.sha256 != row.sha256:
        return (
            f"damaged: the SHA-256 of its {row.size} bytes is {digest.sha256.hex()[:16]}..., "
            f"expected {row.sha256.hex()[:16]}..."
        )
    return None


def missing(row: Row) -> str:
    """The reason for an object without a file."""
    return f"missing: its file {row.key} is not there, expected {row.size} bytes"


def wrong_size(row: Row, actual: int) -> str:
    """The reason for an object whose file is too short or too long."""
    return f"damaged: its file has {actual} bytes, expected {row.size}"


def _diagnose(store: ByteStore, row: Row) -> str:
    return ciphertext_damage(store, row) or (
        "its file is as it was written, but does not open with its key: it was sealed for "
        "another object, version or tenant"
    )
