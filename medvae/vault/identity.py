"""Identities: a key pair of a person (or of a safe), and the file that holds it.

A key pair is MLKEM768-X25519 (X-Wing) grown from a 32-byte seed with SHAKE256, as
draft-connolly-cfrg-xwing-kem, section 5.2 does, so that a recovery key fits on paper. The
file is JSON, mode 0600. With a passphrase the secret part is sealed by AES-256-GCM-SIV
under an Argon2id key (RFC 9106); the parameters are in the header and authenticated.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medvae.errors import AccessError, IntegrityError, NotFoundError, UsageError
from medvae.vault import fileio, format

SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PUBLIC: Final = 1184 + 32
_SEED: Final = 32


@dataclass(frozen=True)
class Argon2:
    """Argon2id parameters: memory in KiB, passes, lanes."""

    memory: int
    iterations: int
    lanes: int

    def key(self, passphrase: str, salt: bytes) -> bytes:
        """The 32-byte key of a passphrase, however its accents were typed.

        Raises:
            ValueError: the parameters ask for more than a sane file does.
        """
        # A hostile file must not be able to ask for all the memory there is.
        if not all(0 < value <= most for value, most in zip(self._values(), _LARGEST, strict=True)):
            raise ValueError("Argon2id parameters out of range")
        kdf = Argon2id(
            salt=salt,
            length=format.KEY,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory,
        )
        return kdf.derive(unicodedata.normalize("NFC", passphrase).encode())

    def _values(self) -> tuple[int, int, int]:
        return self.memory, self.iterations, self.lanes


RECOMMENDED: Final = Argon2(memory=256 * 1024, iterations=3, lanes=4)  # RFC 9106 4, raised
CHEAPEST: Final = Argon2(memory=8 * 1024, iterations=1, lanes=1)  # for tests only
# Four times what is made here, in time and memory: a file cannot ask for more than seconds.
_LARGEST: Final = (1024 * 1024, 12, 16)


@dataclass(frozen=True)
class Identity:
    """A key pair, and the signers of the tenants it has met.

    pins: tenant id (hex) -> raw Ed25519 public key (hex). A tenant that replaces
        another, complete with keys of the intruder's own making, does not match its pin.
    """

    seed: bytes = field(repr=False)
    pins: dict[str, str] = field(default_factory=dict, repr=False)

    @staticmethod
    def new() -> Identity:
        """A fresh key pair."""
        return Identity(format.new_key())

    def private(self) -> MLKEM768X25519PrivateKey:
        """The private key in the form HPKE wants."""
        mlkem, x25519 = self._keys()
        return MLKEM768X25519PrivateKey(mlkem, x25519)

    def public(self) -> bytes:
        """ML-KEM-768 public key, then X25519 public key: 1,216 bytes."""
        mlkem, x25519 = self._keys()
        return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def approver(self) -> Ed25519PrivateKey:
        """The key that signs approvals of releases, by HKDF-SHA256 (RFC 5869) from the seed."""
        info = format.context("approver")
        grown = HKDF(hashes.SHA256(), format.KEY, salt=None, info=info).derive(self.seed)
        return Ed25519PrivateKey.from_private_bytes(grown)

    def approver_public(self) -> str:
        """Its public half, 32 raw bytes as hex."""
        return self.approver().public_key().public_bytes_raw().hex()

    def fingerprint(self) -> str:
        """What the tenant's list of recipients calls this key."""
        return fingerprint(self.public())

    def _keys(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        grown = hashlib.shake_256(self.seed).digest(96)
        return (
            MLKEM768PrivateKey.from_seed_bytes(grown[:64]),
            X25519PrivateKey.from_private_bytes(grown[64:]),
        )


def fingerprint(public: bytes) -> str:
    """The first 128 bits of the SHA-256 of a public key, hex."""
    return hashlib.sha256(b"medvae recipient\0" + public).hexdigest()[:32]


def public_key(raw: bytes) -> MLKEM768X25519PublicKey:
    """The HPKE public key of 1,216 raw bytes.

    Raises:
        ValueError: the bytes are no such key, or one that nothing can be sealed to.
    """
    if len(raw) != PUBLIC:
        raise ValueError(f"a public key has {PUBLIC} bytes, not {len(raw)}")
    mlkem = MLKEM768PublicKey.from_public_bytes(raw[:1184])
    x25519 = X25519PublicKey.from_public_bytes(raw[1184:])
    # A point of small order is found out only when it is used: now, not in a rotation.
    X25519PrivateKey.generate().exchange(x25519)
    return MLKEM768X25519PublicKey(mlkem, x25519)


def encode(
    identity: Identity, passphrase: str | None, role: str, cost: Argon2 = RECOMMENDED
) -> bytes:
    """The bytes of an identity file; `role` is "identity" or "recovery"."""
    header: dict[str, Any] = {
        "medvae": role,
        "format": format.FORMAT,
        "public": base64.b64encode(identity.public()).decode(),
        "protection": None,
    }
    if role == "identity":
        header["approver"] = identity.approver_public()
    secret = json.dumps({"seed": identity.seed.hex(), "pins": identity.pins}).encode()
    if passphrase:
        salt = os.urandom(16)
        header["protection"] = {
            "kdf": "argon2id",
            "memory_kib": cost.memory,
            "iterations": cost.iterations,
            "lanes": cost.lanes,
            "salt": salt.hex(),
        }
        secret = format.wrap(cost.key(passphrase, salt), _bound(header), secret)
    header["secret"] = base64.b64encode(secret).decode()
    return (json.dumps(header, indent=1) + "\n").encode()


def load(path: Path, passphrase: str | None = None, *, offline: bool = False) -> Identity:
    """Read an identity or recovery file.

    offline: the file may be readable by others (a recovery key on a FAT stick is).

    Raises:
        NotFoundError: no file is there.
        AccessError: the passphrase is missing or wrong, or others can read the file.
        IntegrityError: it is no identity file, or a damaged one.
    """
    raw = _read(path, offline=offline)
    header = parse(path, raw)
    try:
        sealed = base64.b64decode(header.pop("secret"))
    except ValueError as error:
        raise IntegrityError(f"identity file {path} is damaged: its secret is cut") from error
    if header["protection"] is not None:
        sealed = _unlock(path, header, sealed, passphrase)
    try:
        secret = format.from_json(sealed)
        identity = Identity(bytes.fromhex(secret["seed"]), dict(secret["pins"]))
        matches = base64.b64decode(header["public"]) == identity.public()
        # A file of an earlier version does not say its approval key.
        matches &= header.get("approver") in (None, identity.approver_public())
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"identity file {path} is damaged: no key in it") from error
    if not matches or len(identity.seed) != _SEED:
        raise IntegrityError(f"identity file {path} is damaged: its two keys do not match")
    return identity


def parse(path: Path, raw: bytes) -> dict[str, Any]:
    """The JSON of an identity file, with its shape checked."""
    try:
        header = format.from_json(raw)
        good = header["medvae"] in ("identity", "recovery") and isinstance(header["secret"], str)
        version = header["format"]
        header["protection"], header["public"]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is not a medvae identity file, or is damaged") from error
    if not good:
        raise IntegrityError(f"{path} is not a medvae identity file")
    if version != format.FORMAT:
        raise UsageError(f"{path} has format {version}, this medvae reads {format.FORMAT}")
    return dict(header)


def _read(path: Path, *, offline: bool) -> bytes:
    try:
        with fileio.opened(path) as fd:
            info = os.fstat(fd)
            mode = stat.S_IMODE(info.st_mode)
            if info.st_uid != os.geteuid() and not offline:
                raise AccessError(
                    f"identity file {path} belongs to user id {info.st_uid}, who can read it, and "
                    f"not to this account ({os.geteuid()}): chown it, or use that account"
                )
            if mode & 0o077 and not offline:
                raise AccessError(
                    f"identity file {path} can be read by other accounts (mode {mode:04o}, "
                    "expected 0600): run chmod 600 on it"
                )
            return fileio.read_all(fd, path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"no identity file at {path}: name it with --identity") from None
    except PermissionError as error:
        raise AccessError(f"identity file {path} may not be read by this account") from error


def _bound(header: dict[str, Any]) -> bytes:
    return format.context("identity", json.dumps(header, sort_keys=True))


def _unlock(path: Path, header: dict[str, Any], sealed: bytes, passphrase: str | None) -> bytes:
    if not passphrase:
        raise AccessError(
            f"identity file {path} is protected by a passphrase: set MEDVAE_PASSPHRASE"
        )
    try:
        stored = header["protection"]
        cost = Argon2(stored["memory_kib"], stored["iterations"], stored["lanes"])
        salt = bytes.fromhex(stored["salt"])
        if stored["kdf"] != "argon2id":
            raise ValueError("not Argon2id")
        key = cost.key(passphrase, salt)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"identity file {path} is damaged: Argon2id parameters") from error
    try:
        return format.unwrap(key, _bound(header), sealed)
    except InvalidTag:
        raise AccessError(
            f"the passphrase does not open identity file {path}, or the file was changed"
        ) from None
