"""Noise from AES-CTR: exact discrete Gaussians, secret and reproducible.

What it protects: the noise cannot be predicted without the key (AES-256 in counter mode, NIST
SP 800-38A), unlike that of any torch generator; a resumed run draws the same noise again. Draws
are discrete Gaussians by exact arithmetic (see `discrete`), on the grid of what they are added
to (see `lattice`).

What it does not protect: generation takes the time it takes, and whoever holds the key and the
result has the un-noised sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medvae.errors import UsageError
from medvae.privacy import discrete
from medvae.privacy.discrete import Integers
from medvae.privacy.keys import derive

# Candidates of one block: its arrays stay in the second-level cache.
BLOCK = 8192
_BYTES = BLOCK * discrete.WORDS * 8
_ZEROS = bytes(_BYTES)

# Part of every key: noise of another mechanism version never repeats under it.
_VERSION = 2


class NoiseSource:
    """Discrete Gaussians, each a function of (key, binding, stream, step, position) alone."""

    def __init__(self, key: bytes, binding: str = "") -> None:
        """
        Args:
            key: 32 bytes, such as `run_key(..., "noise")`.
            binding: whatever may change the bits of what the noise is added to (device,
                precision): where it differs, the noise is independent, so that two results of
                one key never differ by their sums alone.

        Raises:
            UsageError: a key of another length.
        """
        if len(key) != 32:
            raise UsageError(f"a noise key must have 32 bytes, not {len(key)}")
        self._key = derive(bytes(key), f"medvae noise source {_VERSION} {binding}")

    def discrete_gaussian(self, count: int, sigma: float, *, stream: str, step: int) -> Integers:
        """Independent draws of the discrete Gaussian over the integers.

        Asking again with the same key, stream, step and sigma gives the same values (a larger
        count continues them) on any machine; so a (stream, step) must meet one use only.

        Args:
            count: how many.
            sigma: parameter of the discrete Gaussian, in [64, 2^31).
            stream: what the noise is for, such as a mechanism's name.
            step: 0..2^63-1.

        Returns:
            int64 [count].

        Raises:
            UsageError: a negative step, an empty stream, or sigma out of range.
        """
        key = self._cipher_key(stream, step)
        if not discrete.SMALLEST <= sigma < discrete.LARGEST:
            raise UsageError(f"sigma must be in [2^6, 2^31), not {sigma!r}")
        table = discrete.staircase(float(sigma))
        out = np.empty(count, dtype=np.int64)
        raw = bytearray(_BYTES + 15)
        have = block = 0
        while have < count:
            first = block * BLOCK
            _keystream_into(raw, key, block * (_BYTES // 16))
            words = np.frombuffer(raw, dtype="<u8", count=2 * BLOCK).reshape(2, BLOCK)
            values = discrete.draw(words, table, _Ties(key, first))
            taken = min(len(values), count - have)
            out[have : have + taken] = values[:taken]
            have, block = have + taken, block + 1
        return out

    def generator(self, *, stream: str, step: int, index: int = 0) -> torch.Generator:
        """A torch generator for what is not privacy noise (crops, latent draws) of one patient.

        Its seed is secret and reproducible; its values are not a CSPRNG's and must not be used
        as noise of a mechanism.
        """
        key = self._cipher_key(stream, step, "generator")
        block = keystream(key, 8, index)
        seed = int.from_bytes(block, "big") >> 1
        return torch.Generator().manual_seed(seed)

    def commitment(self) -> bytes:
        """32 bytes that are equal for equal keys and reveal nothing else about a key (HKDF)."""
        return derive(self._key, "medvae commitment")

    def _cipher_key(self, stream: str, step: int, use: str = "noise") -> bytes:
        if not stream:
            raise UsageError("noise needs the name of its stream")
        if type(step) is not int or not 0 <= step < 1 << 63:
            raise UsageError(f"the step of a noise stream must be 0 or more, not {step!r}")
        return derive(self._key, f"medvae {use} {step} {stream}")


def keystream(key: bytes, size: int, high: int = 0) -> bytes:
    """`size` bytes of AES-256-CTR whose counter begins at `high` * 2^64."""
    counter = high.to_bytes(8, "big") + bytes(8)
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(size))


def _keystream_into(raw: bytearray, key: bytes, counter: int) -> None:
    start = bytes(8) + counter.to_bytes(8, "big")
    Cipher(algorithms.AES(key), modes.CTR(start)).encryptor().update_into(_ZEROS, raw)


@dataclass(frozen=True)
class _Ties:
    """Further random bytes of each candidate of a block, for what the first could not decide."""

    key: bytes
    first: int

    def __call__(self, index: int) -> Callable[[int], bytes]:
        own = derive(self.key, f"medvae tie {self.first + index}")
        return lambda offset: keystream(own, 8 * (offset + 1))[8 * offset :]
