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

# The field of Curve25519, and the y-coordinates of the eight points whose order divides the
# cofactor 8 (order 1, 2, 4, 8, 8): under such a key a signature needs no secret.
_FIELD = 2**255 - 19
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7
_SMALL_ORDER = frozenset({1, _FIELD - 1, 0, _ORDER_8, _FIELD - _ORDER_8})


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


def check_public_key(pem: bytes) -> None:
    """Refuse what is not a sound Ed25519 public key in PEM.

    Raises:
        UsageError: not PEM, another kind of key, a coordinate that is not reduced, or a point
            of small order, under which anybody can sign.
    """
    _load(pem)


def verify_signature(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` (64 bytes) is that of `data` under an Ed25519 public key in PEM.

    Raises:
        UsageError: `public_key` is no such key (see `check_public_key`).
    """
    key = _load(public_key)
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _load(pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        key = None  # a key, but of a curve or a kind that is not even known here
    except ValueError as error:
        raise UsageError("the public key is not in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("the public key is not an Ed25519 key")
    # RFC 8032 5.1.2: 255 bits of y, little-endian, and one bit for the sign of x.
    y = int.from_bytes(key.public_bytes_raw(), "little") & ((1 << 255) - 1)
    if y >= _FIELD or y in _SMALL_ORDER:
        raise UsageError("the public key is not sound: it is of small order or not reduced")
    return key
