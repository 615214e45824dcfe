"""Ed25519 signatures (RFC 8032) of a tenant over releases; verifying needs no vault."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from medvae.errors import UsageError
from medvae.vault import format
from medvae.vault.keys import Keys


def sign(keys: Keys, data: bytes) -> bytes:
    """The 64-byte signature of `data`.

    Raises:
        UsageError: `data` begins like one of the vault's own signed records.
    """
    # The vault signs its checkpoints and anchors with the same key: none may be got here.
    if data.startswith(format.context()):
        raise UsageError("data that imitate a record of the vault are not signed")
    return keys.signer().sign(data)


def public_key(keys: Keys) -> bytes:
    """The verifying key, PEM."""
    return keys.signer().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def verify_signature(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is that of `data` under an Ed25519 public key in PEM.

    Raises:
        UsageError: `public_key` is no such key.
    """
    try:
        key = load_pem_public_key(public_key)
    except UnsupportedAlgorithm:
        key = None  # a key, but of a curve or a kind that is not even known here
    except ValueError as error:
        raise UsageError("the public key is not in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("the public key is not an Ed25519 key")
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True
