"""Making a tenant: keys, store, and a recovery drill before it exists for anybody.

Everything happens in a folder `.creating-...`. Only when a sealed object has been read back
with the recovery key, from the recovery file as it is on the disk, does the folder get
the tenant's name. A crash before that leaves no tenant, and the same command goes on from what
it left: until the drill is passed the recovery key is in a file of a name of its own.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from medvae.errors import AccessError, MedvaeError, UsageError
from medvae.vault import fileio, heads, identity, keyring
from medvae.vault import format as sealing
from medvae.vault.bytestore import LocalStore
from medvae.vault.catalogue import Catalogue
from medvae.vault.identity import Identity
from medvae.vault.keyring import Keyring
from medvae.vault.keys import Keys
from medvae.vault.providers import HpkeProvider, hpke_recipient, identity_recipient
from medvae.vault.recipients import now
from medvae.vault.session import Session
from medvae.vault.tenant import Tenant


@dataclass(frozen=True)
class Request:
    """What `create_tenant` was asked for."""

    name: str
    identity: Path
    recovery: Path
    passphrase: str | None
    epsilon_limit: float
    delta: float
    store: str
    approvals: int = 0


def build(folder: Path, request: Request) -> None:
    """Fill `folder` with a tenant, write identity and recovery files, pass the drill.

    Raises:
        UsageError: the recovery file exists already, or the two paths are one.
        AccessError: a key file cannot be written or the drill fails.
    """
    if request.identity.absolute() == request.recovery.absolute():
        raise UsageError("identity and recovery key must be two files: keep them apart")
    with key_folder(request.identity):
        _build(folder, request)


def _build(folder: Path, request: Request) -> None:
    if os.path.lexists(request.recovery):
        raise UsageError(
            f"{request.recovery} exists already, and a recovery key is never overwritten: name "
            "another file with --recovery-out"
        )
    owner = load_or_new(request.identity, request.passphrase)
    unproven = unproven_recovery(folder, request.recovery)
    safe = Identity.new()
    keys = Keys(secrets.token_bytes(16), 1, sealing.new_key(), sealing.new_key())
    pin = {keys.tenant_id.hex(): keys.signer_public().hex()}
    owner = replace(owner, pins={**owner.pins, **pin})
    safe = replace(safe, pins=pin)
    _files(folder, request, keys, owner, safe)
    write_identity(request.identity, owner, request.passphrase)
    _new_file(unproven, identity.encode(safe, None, "recovery"))
    try:
        drill(folder, request, owner, unproven)
        unproven.rename(request.recovery)
        fileio.fsync_folder(unproven.parent)
    except BaseException:
        unproven.unlink(missing_ok=True)
        raise


def unproven_recovery(folder: Path, recovery: Path) -> Path:
    """Where the recovery key of the tenant that is made in `folder` is before the drill."""
    return recovery.with_name(f".{recovery.name}{folder.name}.tmp")


def is_whole(folder: Path, request: Request) -> bool:
    """Whether a creation that was cut off needs nothing more than the tenant's name.

    It does when both key files are there and pass the drill; otherwise it cannot be used, and
    what it left of the recovery key is destroyed.
    """
    try:
        fileio.shred(unproven_recovery(folder, request.recovery))
        if not (os.path.lexists(request.recovery) and os.path.lexists(request.identity)):
            return False
        owner = identity.load(request.identity, request.passphrase)
        if keyring.load(folder, request.name).approvals != request.approvals:
            return False
        drill(folder, request, owner, request.recovery)
    except (MedvaeError, OSError):
        return False
    return True


def drill(folder: Path, request: Request, owner: Identity, recovery: Path) -> None:
    """Seal something with the identity, read it back with the recovery file.

    Raises:
        MedvaeError: what was read is not what was sealed.
    """
    probe = secrets.token_bytes(4096)
    first = Tenant(Session(folder, request.name, HpkeProvider(owner)))
    try:
        object_id = first.put("drill", probe)
        restored = identity.load(recovery, offline=True)
        second = Tenant(Session(folder, request.name, HpkeProvider(restored)))
        try:
            same = hmac.compare_digest(second.get("drill", object_id), probe)
        finally:
            second.close()
        if not same:
            raise MedvaeError("the recovery drill failed: the recovery key reads other bytes")
        first.delete("drill", object_id)
        first.record(
            "tenant create", recipients=[recipient.fingerprint for recipient in first.recipients()]
        )
        first.record("recovery drill")
    finally:
        first.close()


def load_or_new(path: Path, passphrase: str | None) -> Identity:
    """The identity at `path`, or a new one: one person may hold several tenants."""
    if os.path.lexists(path):
        return identity.load(path, passphrase)
    return Identity.new()


@contextlib.contextmanager
def key_folder(path: Path) -> Iterator[None]:
    """The folder of a key file, made if need be, with nobody else at it.

    Two creations at once would each make a new identity, and the first one would be lost.

    Raises:
        AccessError: the folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(mode=fileio.PRIVATE_FOLDER, parents=True, exist_ok=True)
            stack.enter_context(fileio.file_lock(path.parent))
        except OSError as error:
            raise _unwritable(path, error) from error
        yield


def write_identity(path: Path, owner: Identity, passphrase: str | None) -> None:
    """Write or replace an identity file, mode 0600; the caller is in its `key_folder`."""
    try:
        for leftover in fileio.unfinished(path):
            fileio.shred(leftover)
        fileio.atomic_write(path, identity.encode(owner, passphrase, "identity"))
    except OSError as error:
        raise _unwritable(path, error) from error


def _files(folder: Path, request: Request, keys: Keys, owner: Identity, safe: Identity) -> None:
    LocalStore.create(folder)
    Catalogue.create(folder, request.name, keys.tenant_id, keys.number)
    created = now()
    ring = Keyring(
        tenant=request.name,
        tenant_id=keys.tenant_id,
        created=created,
        epsilon_limit=request.epsilon_limit,
        signer=keys.signer_public(),
        store=request.store,
        recipients=(),
        epochs=(),
        delta=request.delta,
        journals={},
        approvals=request.approvals,
    )
    recipients = (
        identity_recipient(owner, "identity", created),
        hpke_recipient(safe.public(), "recovery", created),
    )
    ring = keyring.add_epoch(ring, keys, recipients)
    fileio.new_file(folder / keyring.FILE, keyring.encode(ring))
    catalogue = Catalogue(folder, request.name)
    with catalogue.writing() as connection:
        heads.Change(keys).commit(connection)
    catalogue.close()


def _new_file(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(mode=fileio.PRIVATE_FOLDER, parents=True, exist_ok=True)
        fileio.new_file(path, data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> AccessError:
    return AccessError(f"the key file {path} cannot be written: {error.strerror or error}")
