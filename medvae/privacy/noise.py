"""Gaussian noise from AES-CTR: secret, reproducible from (key, stream, step), and granular.

What it protects: the noise cannot be predicted without the key (AES-256 in counter mode, NIST
SP 800-38A), unlike that of any torch generator; a resumed run draws the same noise again. Each
normal is the sum of four Box-Muller normals (Holohan and Braghin 2021, section 5.1), so that
inverting one from its floating-point digits means guessing the others' too; and what is released
is rounded to a grid that depends on public constants only (in the spirit of Mironov 2012), so
that the low-order digits of a released value carry neither the noise's nor the data's.

What it does not protect: this is not a proof. The arithmetic is floating-point, a normal is cut
at about 17 standard deviations, generation takes the time it takes, and whoever holds the key
and the result has the un-noised sum. A discrete Gaussian sampler would carry a proof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medvae.errors import UsageError
from medvae.privacy.keys import derive

# Normals added up (and divided by 2) to make one; each from its own pair of uniforms.
SUM_OF = 4

# Outputs of one block. Small enough for the second-level cache, and below the size at which
# torch splits work over threads: a block is always computed whole and by one thread, so the
# values depend neither on the number of threads nor on how many were asked for. (Blocks in
# several Python threads were measured slower than in one: the operations are too short.)
BLOCK = 4096

# Standard normals are multiples of 2^-20 (exact in float32 up to 16 standard deviations).
GRID_BITS = 20

_PAIRS = BLOCK // 2 * SUM_OF
_BYTES = 2 * _PAIRS * 8
_ZEROS = bytes(_BYTES)
_MASK = (1 << 53) - 1


class NoiseSource:
    """Standard normals, each a function of (key, stream, step, position) and of nothing else."""

    def __init__(self, key: bytes) -> None:
        """Args: 32 bytes of key, such as `run_key(..., "noise")`. UsageError on another length."""
        if len(key) != 32:
            raise UsageError(f"a noise key must have 32 bytes, not {len(key)}")
        self._key = bytes(key)

    def normal(self, shape: Sequence[int], *, stream: str, step: int) -> torch.Tensor:
        """Independent standard normals, float32, on the CPU, multiples of 2^-20.

        Asking again with the same key, stream and step gives the same values (a larger shape
        continues them), with any number of threads; so a (stream, step) must meet one use only.

        Args:
            shape: of the result.
            stream: what the noise is for, such as a mechanism's name.
            step: 0..2^63-1.

        Raises:
            UsageError: a negative step or an empty stream.
        """
        count = math.prod(shape)
        out = torch.empty(count, dtype=torch.float32)
        cipher_key = self._cipher_key(stream, step)
        work = _Workspace(cipher_key, step)
        for start in range(0, count, BLOCK):
            values = work.block(start // BLOCK)
            out[start : start + BLOCK] = values[: count - start]
        return out.reshape(tuple(shape))

    def generator(self, *, stream: str, step: int, index: int = 0) -> torch.Generator:
        """A torch generator for what is not privacy noise (crops, latent draws) of one patient.

        Its seed is secret and reproducible; its values are not a CSPRNG's and must not be used
        as noise of a mechanism.
        """
        block = _keystream(self._cipher_key(f"generator {stream}", step), index, 0, bytes(8))
        seed = int.from_bytes(block, "big") >> 1
        return torch.Generator().manual_seed(seed)

    def _cipher_key(self, stream: str, step: int) -> bytes:
        if not stream:
            raise UsageError("noise needs the name of its stream")
        if type(step) is not int or not 0 <= step < 1 << 63:
            raise UsageError(f"the step of a noise stream must be 0 or more, not {step!r}")
        return derive(self._key, f"medvae noise {step} {stream}")


def release(value: torch.Tensor, normal: torch.Tensor, std: float) -> torch.Tensor:
    """`value + std * normal` in float64, rounded to a grid of about std * 2^-20.

    The grid is a power of two that depends on `std` only, so rounding is post-processing.

    Args:
        value: float tensor, any shape and device.
        normal: from `NoiseSource.normal`, as many elements.
        std: standard deviation in units of `value`; 0 or more.
    """
    noisy = value.double() + std * normal.to(value.device).double().view_as(value)
    if std <= 0:
        return noisy
    grid = 2.0 ** (math.floor(math.log2(std)) - GRID_BITS)
    return (noisy / grid).round_().mul_(grid)


def _keystream(key: bytes, high: int, low: int, zeros: bytes) -> bytearray:
    """AES-256-CTR from counter block (high, low), both 64 bits."""
    counter = high.to_bytes(8, "big") + low.to_bytes(8, "big")
    out = bytearray(len(zeros) + 15)
    size = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update_into(zeros, out)
    return out[:size]


class _Workspace:
    """The buffers of a request, used again for each block: fresh ones cost as much as the sines.

    They hold noise in clear while a request lasts, like the result itself.
    """

    def __init__(self, key: bytes, step: int) -> None:
        self._key, self._step = key, step
        self._raw = bytearray(_BYTES + 15)
        self._uniform = torch.empty(2, _PAIRS, dtype=torch.float64)
        self._sine = torch.empty(_PAIRS, dtype=torch.float64)
        self._out = torch.empty(2, BLOCK // 2, dtype=torch.float64)

    def block(self, block: int) -> torch.Tensor:
        """BLOCK normals (float64, multiples of 2^-20): four Box-Muller pairs summed, halved.

        The result is overwritten by the next call.
        """
        counter = self._step.to_bytes(8, "big") + (block * (_BYTES // 16)).to_bytes(8, "big")
        cipher = Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor()
        cipher.update_into(_ZEROS, self._raw)
        for row, uniform in enumerate(self._uniform):
            bits = torch.frombuffer(
                self._raw, dtype=torch.int64, count=_PAIRS, offset=8 * row * _PAIRS
            )
            uniform.copy_(bits.bitwise_and_(_MASK))
        # (0, 1]: the logarithm of the radius must be finite.
        radius = self._uniform[0].add_(1.0).mul_(2.0**-53).log_().mul_(-2.0).sqrt_()
        angle = self._uniform[1].mul_(2 * math.pi * 2.0**-53)
        torch.sin(angle, out=self._sine)
        parts = (angle.cos_().mul_(radius), self._sine.mul_(radius))
        for half, part in zip(self._out, parts, strict=True):
            torch.sum(part.view(SUM_OF, -1), 0, out=half)
        scale = 2.0**GRID_BITS / math.sqrt(SUM_OF)
        return self._out.mul_(scale).round_().mul_(2.0**-GRID_BITS).view(-1)
