"""Who can unwrap an epoch key: one interface, one class a kind of recipient.

Provider (Protocol)
 |- HpkeProvider        an identity or recovery key, MLKEM768-X25519   (here)
 |- passphrase          an HpkeProvider grown from a passphrase        (here)
 |- TransitProvider     OpenBao / HashiCorp Vault transit              (transit.py)
 `- PKCS#11             an open seam: implement `Provider` over the token's session
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medvae.vault.identity import RECOMMENDED, SUITE, Argon2, Identity, fingerprint


class UnwrapError(Exception):
    """A slot does not open with this provider's key: damaged, or sealed for another."""


@dataclass(frozen=True)
class Recipient:
    """One entry of a tenant's list of those who may open it. Nothing secret.

    kind: "hpke" or "transit". label: "identity", "recovery", or a name given by the user.
    settings: what a slot is made with; for "hpke" the public key, and the salt and the
        Argon2id parameters if it grew from a passphrase.
    """

    fingerprint: str
    kind: str
    label: str
    added: str
    settings: dict[str, Any]


class Provider(Protocol):
    """Something that can unwrap the slots made for one recipient."""

    def fingerprint(self) -> str:
        """Which recipient this is."""

    def unwrap(self, sealed: bytes, bound: bytes) -> bytes:
        """The secret of a slot. Raises UnwrapError when the slot is not good,
        AccessError when the key cannot be used (a server that refuses)."""

    def approver(self) -> Ed25519PrivateKey | None:
        """The key that signs approvals of releases; None where there is none."""

    def pins(self) -> dict[str, str]:
        """Tenant id -> signer's public key, as far as this provider remembers them."""


class HpkeProvider:
    """An identity, a recovery key or a passphrase: HPKE base mode (RFC 9180)."""

    def __init__(self, identity: Identity) -> None:
        self._private = identity.private()
        self._fingerprint = identity.fingerprint()
        self._pins = dict(identity.pins)
        self._identity = identity

    def fingerprint(self) -> str:
        """The fingerprint of the public key."""
        return self._fingerprint

    def unwrap(self, sealed: bytes, bound: bytes) -> bytes:
        """HPKE open; `bound` is HPKE's `info`."""
        try:
            return SUITE.decrypt(sealed, self._private, info=bound)
        except (InvalidTag, ValueError) as error:
            raise UnwrapError from error

    def approver(self) -> Ed25519PrivateKey | None:
        """The key of the identity."""
        return self._identity.approver()

    def pins(self) -> dict[str, str]:
        """The pins of the identity file."""
        return self._pins


def hpke_recipient(
    public: bytes, label: str, added: str, settings: dict[str, Any] | None = None
) -> Recipient:
    """The entry for a public key."""
    described = {"public": base64.b64encode(public).decode(), **(settings or {})}
    return Recipient(fingerprint(public), "hpke", label, added, described)


def identity_recipient(identity: Identity, label: str, added: str) -> Recipient:
    """The entry for an identity, which can also approve releases."""
    return hpke_recipient(identity.public(), label, added, {"approver": identity.approver_public()})


def passphrase_identity(passphrase: str, salt: bytes, cost: Argon2) -> Identity:
    """The key pair of a passphrase: its Argon2id key is the seed."""
    return Identity(cost.key(passphrase, salt))


def passphrase_recipient(
    passphrase: str, label: str, added: str, salt: bytes, cost: Argon2 = RECOMMENDED
) -> Recipient:
    """An entry that opens with nothing but a passphrase.

    Anybody who has a copy of the key ring can guess at it off line: it must carry at least
    80 bits, for instance seven words drawn by dice.
    """
    public = passphrase_identity(passphrase, salt, cost).public()
    return hpke_recipient(public, label, added, {"salt": salt.hex(), "argon2": vars(cost)})
