"""The keys of an open tenant, in memory.

    recipient (HPKE) -> epoch key -> data key of an object
                     -> tenant root (stable over epochs) -> derived keys

The epoch key wraps data keys and the root. From the root come, by HKDF-SHA256 (RFC 5869),
the keys that must outlive a rotation: pseudonyms, digests, journals, name look-up, the
signature key of releases.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medvae.vault import format


@dataclass(frozen=True)
class Keys:
    """What a tenant's recipient holds once the key ring is unlocked.

    tenant_id: 16 random bytes, part of every context.
    number, epoch: the current epoch and its key.
    root: the tenant's stable secret.
    """

    tenant_id: bytes
    number: int
    epoch: bytes = field(repr=False)
    root: bytes = field(repr=False)

    def derive(self, purpose: str, *parts: bytes) -> bytes:
        """A 32-byte key for one purpose; different purposes are independent."""
        return _derive(self.root, self.tenant_id, purpose, parts)

    def mac(self, purpose: str, data: bytes | bytearray | memoryview) -> bytes:
        """HMAC-SHA256 of `data` under the key of `purpose`."""
        return hmac.digest(self.derive(purpose), data, hashlib.sha256)

    def signer(self) -> Ed25519PrivateKey:
        """The key that signs releases and audit checkpoints."""
        return Ed25519PrivateKey.from_private_bytes(self.derive("signature"))

    def signer_public(self) -> bytes:
        """Its public half, 32 raw bytes: what identities pin."""
        return self.signer().public_key().public_bytes_raw()


@functools.lru_cache(maxsize=256)
def _derive(root: bytes, tenant_id: bytes, purpose: str, parts: tuple[bytes, ...]) -> bytes:
    info = format.context("derive", tenant_id, purpose, *parts)
    return HKDF(hashes.SHA256(), format.KEY, salt=None, info=info).derive(root)
