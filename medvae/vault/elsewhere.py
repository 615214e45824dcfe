"""Where an erased tenant's objects are, when not in its folder; what an erasure removes last.

Formal guarantee: a store is asked to remove objects only at an address that the tenant's signature
key has signed, under the public half that an opened tenant or an identity's own file states. A key
ring that nobody has opened proves nothing: who may write to its folder could name the bucket, and
the objects, of somebody else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError
from medvae.vault import fileio, format, keyring
from medvae.vault import identity as identities
from medvae.vault.open import is_transit, provider_for
from medvae.vault.providers import Provider
from medvae.vault.session import Session
from medvae.vault.stores import LOCAL, open_store

FILE: Final = "store.json"


def proven(
    folder: Path, name: str, identity: Path | None, passphrase: str | None
) -> dict[str, str]:
    """The signer of a tenant whose objects are in a store elsewhere, which is then remembered.

    Empty for one whose objects are in its folder, or whose key ring is damaged or gone: that must
    not stand in the way of its erasure.

    Raises:
        AccessError: the tenant cannot be opened, so that nothing proves where its objects are.
    """
    try:
        ring = keyring.load(folder, name)
    except (IntegrityError, NotFoundError):
        return {}
    if ring.store == LOCAL:
        return {}
    try:
        session = Session(folder, name, provider_for(identity, passphrase, ring))
    except MedvaeError as error:
        raise AccessError(
            f"the objects of tenant {name} are in a store elsewhere, and only the opened tenant "
            f"proves where ({error}): give its --identity, or --keys-only to destroy the keys and "
            "leave the sealed objects"
        ) from error
    try:
        remember(session)
        return {session.keys.tenant_id.hex(): session.keys.signer_public().hex()}
    finally:
        session.close()


def opener(ring: keyring.Keyring, identity: Path | None, passphrase: str | None) -> Provider:
    """The key that opens a tenant whose objects are in a store elsewhere.

    Raises:
        AccessError: there is none, so that nothing proves where the objects are.
    """
    if identity is None and passphrase is None:
        raise AccessError(
            f"the objects of tenant {ring.tenant} are in a store elsewhere, and only an identity "
            "of the tenant proves where: give one"
        )
    return provider_for(identity, passphrase, ring)


def met(erased: Sequence[Path], identity: Path | None, passphrase: str | None) -> dict[str, str]:
    """The signers that an identity has met, where erased folders wait for one."""
    waits = any(os.path.lexists(folder / FILE) for folder in erased)
    if identity is None or not waits or is_transit(identity):
        return {}
    return identities.load(identity, passphrase).pins


def remember(session: Session) -> None:
    """Keep where an open tenant's objects are beyond its key ring, signed."""
    url, tenant = session.ring.store, session.ring.tenant_id
    if url != LOCAL:
        signature = session.keys.signer().sign(_signed(url, tenant))
        location = {"store": url, "tenant": tenant.hex(), "signature": signature.hex()}
        fileio.atomic_write(session.folder / FILE, json.dumps(location).encode())


def purge(folder: Path, signers: Mapping[str, str]) -> None:
    """Remove an erased tenant's objects from a store elsewhere, once.

    Args:
        signers: tenant id -> raw Ed25519 public key, both hex: an opened tenant's, or the `pins`
            of an identity.

    Raises:
        AccessError: none of the signers is the tenant's; nothing was removed.
        IntegrityError: what was kept is not as the tenant signed it; nothing was removed.
        MedvaeError: the store refuses; the erasure can be repeated.
    """
    try:
        location = json.loads(fileio.read_small(folder / FILE))
        url, tenant = str(location["store"]), bytes.fromhex(location["tenant"])
        signature = bytes.fromhex(location["signature"])
    except (FileNotFoundError, NotFoundError):
        return
    except (ValueError, KeyError, TypeError) as error:
        raise _changed(folder) from error
    signer = signers.get(tenant.hex())
    if signer is None:
        raise AccessError(
            "the keys are destroyed, but sealed objects are left in a store elsewhere, and only an "
            "identity of the erased tenant proves where: repeat the command with --identity"
        )
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer))
        key.verify(signature, _signed(url, tenant))
    except InvalidSignature as error:
        raise _changed(folder) from error
    open_store(url, folder, tenant).purge()
    (folder / FILE).unlink()


def _signed(url: str, tenant: bytes) -> bytes:
    return format.context("erasure", url, tenant)


def _changed(folder: Path) -> IntegrityError:
    return IntegrityError(
        f"{folder / FILE} is not as the tenant signed it: remove the tenant's objects from its "
        "store by hand"
    )
