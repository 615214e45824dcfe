"""A tenant that a second process opens, with keys that the first one unwraps for it.

Whatever opened the tenant (an identity file, a passphrase, a key server) stays in the first
process. The second is given epoch keys alone: it reads, and approves nothing. Each key is sealed
to a key pair that the second made for the moment (MLKEM768-X25519), so that whoever records what
passes between two machines reads none with a quantum computer later, whatever carried it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medvae.errors import AccessError, IntegrityError
from medvae.vault import copied, fileio, keyring
from medvae.vault.copied import Copy
from medvae.vault.identity import SUITE, Identity, public_key
from medvae.vault.naming import check_tenant
from medvae.vault.providers import UnwrapError
from medvae.vault.session import Session
from medvae.vault.slots import slot_context
from medvae.vault.tenant import Tenant

# A slot, what it is bound to and a public key -> the slot's secret, sealed to that key; None where
# the slot does not open.
Ask = Callable[[bytes, bytes, bytes], bytes | None]
_KEY_BYTES: Final = 1 << 16


class Asking:
    """A `Provider` that asks another process to unwrap."""

    def __init__(self, fingerprint: str, pins: dict[str, str], ask: Ask) -> None:
        self._fingerprint, self._pins, self._ask = fingerprint, pins, ask

    def fingerprint(self) -> str:
        """That of the other process's recipient."""
        return self._fingerprint

    def unwrap(self, sealed: bytes, bound: bytes) -> bytes:
        """The secret of a slot. UnwrapError when the slot is not good."""
        own = Identity.new()
        answered = self._ask(sealed, bound, own.public())
        if answered is None:
            raise UnwrapError
        try:
            return SUITE.decrypt(answered, own.private(), info=bound)
        except (InvalidTag, ValueError) as error:
            raise AccessError("the first process of this training sent no key") from error

    def approver(self) -> Ed25519PrivateKey | None:
        """None: approvals are made where the identity is."""
        return None

    def pins(self) -> dict[str, str]:
        """Those of the other process's identity."""
        return self._pins


def recipient(tenant: Tenant) -> tuple[str, dict[str, str]]:
    """Fingerprint and pins of what opened a tenant, for `Asking`."""
    provider = tenant._session.provider
    return provider.fingerprint(), provider.pins()


def answer(tenant: Tenant, sealed: bytes, bound: bytes, public: bytes) -> bytes | None:
    """What `Asking` asked for, unwrapped by what opened the tenant here, sealed to `public`.

    None for whatever is no slot of this tenant's key ring: the same identity may open others.

    Raises:
        AccessError: the slot holds more than a key.
        IntegrityError: `public` is no key, or the key ring was changed.
    """
    provider, ring = tenant._session.provider, tenant._session.stored_ring()
    name = provider.fingerprint()
    if not any(
        sealed == epoch.slots.get(name)
        and bound == slot_context(ring.tenant_id, epoch.number, name)
        for epoch in ring.epochs
    ):
        return None
    try:
        key = provider.unwrap(sealed, bound)
    except UnwrapError:
        return None
    if len(key) > _KEY_BYTES:
        raise AccessError("a key slot holds more than a key; restore the key ring")
    try:
        return SUITE.encrypt(key, public_key(public), info=bound)
    except ValueError as error:
        raise IntegrityError("another process of this training asked with no public key") from error


def store_of(tenant: Tenant) -> str:
    """Where a tenant's sealed objects are: "local", or an address."""
    return tenant._session.ring.store


def copy_of(tenant: Tenant) -> tuple[bytes, bytes]:
    """A tenant's key ring and its catalogue as they are now, both sealed; for `Copy`."""
    session = tenant._session
    # The ring first: what it counts must be in the catalogue.
    ring = fileio.read_small(session.folder / keyring.FILE)
    with session.catalogue.reading() as connection:
        catalogue = copied.of_catalogue(connection)
    return ring, catalogue


def follow(folder: Path, name: str, provider: Asking, copy: Copy | None = None) -> Tenant:
    """The tenant of a folder, for reading.

    copy: what stands for the folder's key ring and catalogue.

    Raises:
        UsageError: no tenant may be called `name`.
        AccessError: nothing unwraps its keys, or its objects are elsewhere than in `copy`'s store.
        IntegrityError: its keys or its catalogue were changed.
    """
    check_tenant(name)
    return Tenant(Session(folder, name, provider, copy))
