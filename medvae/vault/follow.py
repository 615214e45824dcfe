"""A tenant that a second process opens, with keys that the first one unwraps for it.

Whatever opened the tenant (an identity file, a passphrase, a key server) stays in the first
process. The second is given epoch keys alone: it reads, and approves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medvae.vault.providers import UnwrapError
from medvae.vault.session import Session
from medvae.vault.tenant import Tenant

# A slot and what it is bound to -> the secret in it; None where it does not open.
Ask = Callable[[bytes, bytes], bytes | None]


class Asking:
    """A `Provider` that asks another process to unwrap."""

    def __init__(self, fingerprint: str, pins: dict[str, str], ask: Ask) -> None:
        self._fingerprint, self._pins, self._ask = fingerprint, pins, ask

    def fingerprint(self) -> str:
        """That of the other process's recipient."""
        return self._fingerprint

    def unwrap(self, sealed: bytes, bound: bytes) -> bytes:
        """The secret of a slot. UnwrapError when the slot is not good."""
        key = self._ask(sealed, bound)
        if key is None:
            raise UnwrapError
        return key

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


def answer(tenant: Tenant, sealed: bytes, bound: bytes) -> bytes | None:
    """What `Asking` asked for, unwrapped by what opened the tenant here."""
    try:
        return tenant._session.provider.unwrap(sealed, bound)
    except UnwrapError:
        return None


def follow(folder: Path, name: str, provider: Asking) -> Tenant:
    """The tenant of a folder, for reading.

    Raises:
        AccessError: nothing unwraps its keys.
        IntegrityError: its keys or its catalogue were changed.
    """
    return Tenant(Session(folder, name, provider))
