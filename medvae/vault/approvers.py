"""Approvals: how many a release of a tenant needs, and who can give them.

The tenant's own signature key can be used by everybody who opens the tenant. An approval is signed
by the key of one identity, grown from its seed, which nobody else has. What no key can show is that
two identities belong to two people: who can open the tenant can add an identity of his or her own.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medvae.errors import AccessError
from medvae.vault.providers import Recipient
from medvae.vault.session import Session

SETTING = "approver"


class Approvals:
    """The approvals of one open tenant.

    Attributes:
        required: approvals that a release needs: 0 or 1, fixed when the tenant was made.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.required = session.ring.approvals

    def listed(self) -> tuple[bytes, ...]:
        """The approval keys (PEM) of all identities that can open the tenant.

        Recovery keys, passphrases alone and key servers have none.
        """
        approvers = [approver_of(recipient) for recipient in self._session.ring.recipients]
        return tuple(key for key in approvers if key is not None)

    def own(self) -> bytes:
        """The approval key (PEM) of the identity in use.

        Raises:
            AccessError: it has none, or the tenant does not list it.
        """
        pem = _pem(self._private().public_key().public_bytes_raw())
        if pem not in self.listed():
            raise AccessError(
                f"the identity in use has no approval key in tenant {self._session.name}: open the "
                "tenant with an identity file that tenant create or keys new wrote"
            )
        return pem

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of the identity in use, 64 bytes. Raises AccessError as `own`."""
        self.own()
        return self._private().sign(data)

    def _private(self) -> Ed25519PrivateKey:
        private_key = self._session.provider.approver()
        if private_key is None:
            raise AccessError(
                "a key server has no approval key: open the tenant with an identity file"
            )
        return private_key


def approver_of(recipient: Recipient) -> bytes | None:
    """The approval key (PEM) of somebody who can open the tenant; None: he or she has none."""
    raw = recipient.settings.get(SETTING)
    return None if raw is None else _pem(bytes.fromhex(raw))


def check(raw: str) -> None:
    """Raises ValueError unless a recipient may have this approval key (hex)."""
    from medvae.errors import UsageError
    from medvae.vault.signing import check_public_key

    try:
        check_public_key(_pem(bytes.fromhex(raw)))
    except UsageError as error:
        raise ValueError(str(error)) from error


def _pem(raw: bytes) -> bytes:
    key = Ed25519PublicKey.from_public_bytes(raw)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
