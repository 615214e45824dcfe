"""Published vectors of everything the format is made of.

From the package cryptography-vectors: the HPKE working group's for MLKEM768-X25519, RFC
8452 (AES-GCM-SIV), RFC 5869 (HKDF), RFC 4231 (HMAC), RFC 9106 (Argon2id), and those of the
authors of Ed25519. Wycheproof's and C2SP's are in test_wycheproof.py.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.bindings import _rust
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medvae.vault import format
from medvae.vault.identity import Argon2, Identity, public_key

ROOT = Path(cryptography_vectors.__file__).parent


def blocks(path: str) -> Iterator[dict[str, str]]:
    """Blocks of `NAME = VALUE` lines, each begun by its COUNT."""
    fields: dict[str, str] = {}
    for line in [*(ROOT / path).read_text().splitlines(), "COUNT = end"]:
        name, equals, value = line.partition("=")
        if line.startswith("#") or not equals:
            continue
        if name.strip() == "COUNT":
            if fields:
                yield fields
            fields = {}
        else:
            fields[name.strip().lower()] = value.strip()


HPKE = [
    one
    for one in json.loads((ROOT / "HPKE" / "hpke-pq-test-vectors.json").read_text())
    if one["kem_id"] == 0x647A and one["kdf_id"] == 1
]


@pytest.mark.parametrize("vector", HPKE, ids=lambda one: one["suite_id"])
def test_hpke(vector: dict[str, Any]) -> None:
    """The seed grows into the published key, and what was sealed to it opens."""
    one = Identity(bytes.fromhex(vector["skRm"]))
    assert one.public().hex() == vector["pkRm"]
    public_key(one.public())
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    first = vector["encryptions"][0]
    # The public interface has no associated data, which these vectors use.
    plain = _rust.openssl.hpke._decrypt_with_aad(
        suite,
        bytes.fromhex(vector["enc"] + first["ct"]),
        one.private(),
        bytes.fromhex(vector["info"]),
        bytes.fromhex(first["aad"]),
    )
    assert plain.hex() == first["pt"]


def test_hpke_has_vectors() -> None:
    assert HPKE


GCM_SIV = [one for one in blocks("ciphers/AES/GCM-SIV/openssl.txt") if len(one["key"]) == 64]


def test_aes_256_gcm_siv() -> None:
    assert len(GCM_SIV) > 20
    for one in GCM_SIV:
        raw = {name: bytes.fromhex(value) for name, value in one.items()}
        bound, sealed = raw.get("aad", b""), raw["iv"] + raw.get("ciphertext", b"") + raw["tag"]
        plain = raw.get("plaintext", b"")
        made = raw["iv"] + AESGCMSIV(raw["key"]).encrypt(raw["iv"], plain, bound)
        assert made == sealed
        assert format.unwrap(raw["key"], bound, sealed) == plain
        for at in range(len(sealed)):
            changed = bytearray(sealed)
            changed[at] ^= 0x40
            with pytest.raises(InvalidTag):
                format.unwrap(raw["key"], bound, bytes(changed))


def test_hkdf_sha256() -> None:
    vectors = list(blocks("KDF/rfc-5869-HKDF-SHA256.txt"))
    done = 0
    for one in vectors:
        if "okm" not in one:
            continue
        salt, info = bytes.fromhex(one.get("salt", "")), bytes.fromhex(one.get("info", ""))
        kdf = HKDF(hashes.SHA256(), int(one["l"]), salt or None, info)
        assert kdf.derive(bytes.fromhex(one["ikm"])).hex() == one["okm"]
        done += 1
    assert done == 3


def test_argon2id() -> None:
    done = 0
    for one in blocks("KDF/argon2id.txt"):
        if "output" not in one:
            continue
        kdf = Argon2id(
            salt=bytes.fromhex(one["salt"]),
            length=int(one["length"]),
            iterations=int(one["iter"]),
            lanes=int(one["lanes"]),
            memory_cost=int(one["memcost"]),
            ad=bytes.fromhex(one.get("ad", "")) or None,
            secret=bytes.fromhex(one.get("secret", "")) or None,
        )
        assert kdf.derive(bytes.fromhex(one["pass"])).hex() == one["output"]
        done += 1
    assert done >= 3


def test_argon2id_as_the_vault_calls_it() -> None:
    """Those without what an identity file has not: a secret, associated data, 64 bytes."""
    done = 0
    for one in blocks("KDF/argon2id.txt"):
        if one.get("length") != "32" or "secret" in one or "ad" in one:
            continue
        cost = Argon2(int(one["memcost"]), int(one["iter"]), int(one["lanes"]))
        key = cost.key(bytes.fromhex(one["pass"]).decode(), bytes.fromhex(one["salt"]))
        assert key.hex() == one["output"]
        done += 1
    assert done >= 2


def test_hmac_sha256() -> None:
    lines = (ROOT / "HMAC/rfc-4231-sha256.txt").read_text().splitlines()
    parts = [line.partition("=") for line in lines if "=" in line and line[0] not in "#["]
    values = [bytes.fromhex(value.strip()) for name, _, value in parts if name.strip() != "Len"]
    assert len(values) == 3 * 6
    for key, message, code in zip(values[::3], values[1::3], values[2::3], strict=True):
        assert hmac.digest(key, message, hashlib.sha256) == code


def test_ed25519() -> None:
    lines = (ROOT / "asymmetric/Ed25519/sign.input").read_text().splitlines()
    for line in lines[::8]:
        secret, public, message, signed, _ = (bytes.fromhex(part) for part in line.split(":"))
        key = Ed25519PrivateKey.from_private_bytes(secret[:32])
        assert key.public_key().public_bytes_raw() == public
        assert key.sign(message) == signed[:64]
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(public).verify(signed[:64], message + b"x")
