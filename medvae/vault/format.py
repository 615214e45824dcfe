"""Format version 1: how bytes are sealed, and what each seal is bound to.

Large data: one Cobblestone-256 message (C2SP chunked encryption: 16 KiB chunks, key
commitment, truncation protection). Keys and small records: AES-256-GCM-SIV (RFC 8452) with
a random 96-bit nonce in front. Both authenticate a context, so that a sealed thing opens
only as what it was sealed as (borg 2: authenticate the meaning as well as the bytes).
No I/O here.
"""

from __future__ import annotations

import functools
import json
import secrets
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

FORMAT: Final = 1
KEY: Final = 32
PIECE: Final = 1 << 20  # fits a core's L2 cache; a multiple of the chunk
_MAGIC: Final = b"medvae-vault"
_PREFIX: Final = _MAGIC + FORMAT.to_bytes(4, "big")
_length: Final = struct.Struct(">Q").pack
_INTEGER: Final = struct.Struct(">cQQQ").pack
_CHUNK: Final = 16 * 1024  # Cobblestone's plaintext chunk
_HEADER: Final = 24 + 32  # its nonce and its key commitment
_TAG: Final = 16
_NONCE: Final = 12
# Room for the header and for the tags of one piece, with some to spare.
_SLACK: Final = _HEADER + (PIECE // _CHUNK + 2) * (_TAG + 64) + _CHUNK

Buffer = bytes | bytearray | memoryview


class ContextError(ValueError):
    """A value that was read from a disk and is of no type that we wrote."""


def context(*parts: str | int | bytes | None) -> bytes:
    """The unambiguous encoding of `parts` that a seal is bound to.

    Every part is preceded by its type and its length (64 bits), and the format version
    comes first, so no two different lists of parts share an encoding.

    Raises:
        ContextError: a part is of another type, negative, or above 2^64.
    """
    encoded = [_PREFIX]
    for part in parts:
        kind = type(part)
        if kind is bytes:
            encoded += (b"b", _length(len(part)), part)  # type: ignore[arg-type]
        elif kind is int:
            if not 0 <= part < 1 << 64:  # type: ignore[operator]
                raise ContextError(f"a context has no integer {part!r}")
            encoded.append(_INTEGER(b"i", 16, 0, part))
        elif kind is str:
            raw = part.encode()  # type: ignore[union-attr]
            encoded += (b"s", _length(len(raw)), raw)
        elif part is None:
            encoded.append(b"n")
        else:
            raise ContextError(f"a context has no part of type {kind.__name__}")
    return b"".join(encoded)


def from_json(raw: bytes | str) -> Any:
    """What is written in JSON that somebody else may have written.

    Raises:
        ValueError: it is not JSON, or is nested so deeply that reading it would not end well.
    """
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@functools.lru_cache(maxsize=8)
def _cipher(key: bytes) -> AESGCMSIV:
    return AESGCMSIV(key)


def new_key() -> bytes:
    """32 bytes from the operating system's CSPRNG."""
    return secrets.token_bytes(KEY)


def opened_size(size: int) -> int:
    """Bytes of plaintext in a sealed message of `size` bytes.

    Raises:
        ValueError: no message has that size.
    """
    chunks, rest = divmod(size - _HEADER, _CHUNK + _TAG)
    if size < _HEADER + _TAG or rest < _TAG:
        raise ValueError(f"no sealed message has {size} bytes")
    return size - _HEADER - _TAG * (chunks + 1)


def seal(key: bytes, bound: bytes, data: Buffer) -> Iterator[memoryview]:
    """Seal `data` under a fresh `key`; yields the message in pieces of about 1 MiB.

    Each piece is valid until the next is asked for: the buffer is reused, which is what
    makes this run at memory speed.
    """
    view = memoryview(data).cast("B")
    buffer = memoryview(bytearray(min(len(view), PIECE) + _SLACK))
    encryptor = Cobblestone256Encryptor(key, bound)
    for start in range(0, len(view), PIECE):
        count = encryptor.update_into(view[start : start + PIECE], buffer)
        yield buffer[:count]
    yield memoryview(encryptor.finalize())


def unseal_into(key: bytes, bound: bytes, pieces: Iterable[Buffer], out: memoryview) -> int:
    """Open a sealed message into `out`; returns the number of plaintext bytes.

    `out` holds unauthenticated bytes until this returns. On any failure it is overwritten
    with zeros, so nothing of a damaged message can be handed out by mistake.

    Raises:
        InvalidTag: any bit, the length, the order, the key or the context is wrong.
    """
    decryptor = Cobblestone256Decryptor(key, bound)
    done = 0
    try:
        for piece in pieces:
            done += decryptor.update_into(piece, out[done:])
        tail = decryptor.finalize()
        if done + len(tail) != len(out):
            raise InvalidTag
        out[done:] = tail
    except BaseException as error:
        out[:] = bytes(len(out))
        if isinstance(error, ValueError):  # the message is longer than `out`
            raise InvalidTag from error
        raise
    return len(out)


def unseal(key: bytes, bound: bytes, pieces: Iterable[Buffer]) -> bytearray:
    """Open a sealed message into new memory, each page of which is touched once.

    Raises:
        InvalidTag: any bit, the length, the order, the key or the context is wrong.
    """
    decryptor = Cobblestone256Decryptor(key, bound)
    out = bytearray()
    buffer = memoryview(b"")
    for piece in pieces:
        if len(buffer) < len(piece) + _SLACK:
            buffer = memoryview(bytearray(len(piece) + _SLACK))
        out += buffer[: decryptor.update_into(piece, buffer)]
    out += decryptor.finalize()
    return out


def wrap(key: bytes, bound: bytes, secret: Buffer) -> bytes:
    """Seal a key or a small record: nonce, ciphertext, tag."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + _cipher(key).encrypt(nonce, secret, bound)


def unwrap(key: bytes, bound: bytes, sealed: bytes) -> bytes:
    """Open what `wrap` made.

    Raises:
        InvalidTag: any bit, the key or the context is wrong.
    """
    if len(sealed) < _NONCE + _TAG:
        raise InvalidTag
    return _cipher(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
