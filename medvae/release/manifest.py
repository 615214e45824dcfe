"""The manifest: every file of a release by path, size and SHA-256, and how it is signed.

The manifest is canonical JSON, so that one set of files has one manifest; the signature is
over a fixed prefix and those bytes, so that it can never be taken for a signature over
something else made with the same key. `manifest.sig` is the 64 raw bytes of Ed25519
(RFC 8032): there is no second spelling of it that would also verify.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvae.errors import AccessError

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
SIGNER = "signer.pem"
# Who may approve the release (listed), and the approval that comes afterwards (not listed).
APPROVALS = "approvals.json"
APPROVAL = "approval.json"
# The manifest and its signature cannot name themselves, nor what comes after them.
UNLISTED = frozenset({MANIFEST, SIGNATURE, APPROVAL})
# What vouches for the rest: in bytes, the largest that a reader takes into memory. Ed25519
# signatures are of one size (RFC 8032); 256 MiB list more than 300,000 volumes with label maps.
SIZES = {MANIFEST: 256 << 20, SIGNATURE: 64, SIGNER: 4096}
FORMAT = "medvae-release-1"
_DOMAIN = b"medvae release manifest v1\x00"
_CHUNK = 1 << 20
_PEM = re.compile(
    rb"\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*"
)


@dataclass(frozen=True)
class Entry:
    """One regular file: bytes and lower-case hex SHA-256."""

    size: int
    sha256: str


def signed_bytes(manifest: bytes) -> bytes:
    """What the signature is over."""
    return _DOMAIN + manifest


def manifest_of(signed: bytes) -> bytes:
    """The manifest inside `signed_bytes`.

    Raises:
        ValueError: these are no signed bytes of a manifest.
    """
    if not signed.startswith(_DOMAIN):
        raise ValueError("these bytes are not those of a manifest that is to be signed")
    return signed.removeprefix(_DOMAIN)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, ASCII only, no NaN, and a final newline."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii") + b"\n"


def encode(entries: dict[str, Entry]) -> bytes:
    """The manifest of these files (path with "/" relative to the release -> entry)."""
    files = [
        {"path": path, "size": entry.size, "sha256": entry.sha256}
        for path, entry in sorted(entries.items())
    ]
    return canonical({"format": FORMAT, "hash": "sha256", "files": files})


def decode(data: bytes) -> dict[str, Entry]:
    """Read `encode` back.

    Raises:
        ValueError: not a manifest, not in its one canonical form, or it lists a path that no
            file of a release can have.
    """
    try:
        files = json.loads(data)["files"]
        entries = {
            str(item["path"]): Entry(int(item["size"]), str(item["sha256"])) for item in files
        }
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("it does not list files by path, size and sha256") from error
    if encode(entries) != data:
        raise ValueError("it is not in canonical form")
    _check_paths(entries)
    return entries


def _check_paths(paths: Iterable[str]) -> None:
    for path in paths:
        first, *rest = path.split("/")
        odd = any(part in ("", ".", "..") or "\0" in part for part in (first, *rest))
        # A folder instead of what vouches for the release is never a part of it.
        if odd or first in UNLISTED or (first == SIGNER and rest):
            raise ValueError(f"it lists {path!r}, which cannot be a file of a release")


def open_regular(path: Path) -> int:
    """A descriptor for reading a regular file; the caller closes it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("a symbolic link" if stat.S_ISLNK(mode) else "not a regular file")
    # NONBLOCK: a pipe put there since must not make the reader wait for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError("not a regular file")
    return handle


def read_entry(path: Path, *, sync: bool = False, size: int | None = None) -> Entry:
    """Hash one regular file in steps of 1 MiB, following no link.

    Args:
        sync: also fsync it.
        size: where given, a file of another size is not read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or not of `size`.
    """
    handle = open_regular(path)
    try:
        length = os.fstat(handle).st_size
        if size is not None and length != size:
            raise ValueError(f"{length} bytes long where {size} were released")
        digest, size = hashlib.sha256(), 0
        while chunk := os.read(handle, _CHUNK):
            digest.update(chunk)
            size += len(chunk)
        if sync:
            os.fsync(handle)
        return Entry(size, digest.hexdigest())
    finally:
        os.close(handle)


def key_bytes(pem: bytes) -> bytes:
    """The DER inside a PEM public key.

    Raises:
        AccessError: it is not one PEM public key.
    """
    match = _PEM.fullmatch(pem)
    try:
        if match is None:
            raise binascii.Error
        return base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error:
        raise AccessError(
            "the public key is not a PEM file with one PUBLIC KEY (Ed25519)"
        ) from None


def fingerprint(pem: bytes) -> str:
    """How a person names a key: "SHA256:" and the hex digest of its DER."""
    return "SHA256:" + hashlib.sha256(key_bytes(pem)).hexdigest()
