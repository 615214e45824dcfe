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

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medvae.errors import UsageError
from medvae.privacy.keys import derive

# Normals added up (and divided by 2) to make one; each from its own pair of uniforms.
SUM_OF = 4

# Outputs of one block: its arrays stay in the second-level cache. A block is always computed
# whole, so values do not depend on how many were asked for; and by numpy in one thread, so not
# on the number of threads either (split over threads, such short operations were slower).
BLOCK = 4096

# Standard normals are multiples of 2^-20 (exact in float32 up to 16 standard deviations).
GRID_BITS = 20

_PAIRS = BLOCK // 2 * SUM_OF
_BYTES = 2 * _PAIRS * 8
_ZEROS = bytes(_BYTES)
_DROP, _SIGN = np.uint64(11), np.uint64(63)

# Taylor terms of sine and cosine on [-pi/4, pi/4]: below 3e-14 of error, far inside the grid.
# numpy's own float64 sine takes three times as long, and torch's starts threads of its own.
_SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)]
_COSINE = [(-1) ** k / math.factorial(2 * k) for k in range(8)]


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
        out = np.empty(count, dtype=np.float32)
        work = _Workspace(self._cipher_key(stream, step), step)
        for start in range(0, count, BLOCK):
            values = work.block(start // BLOCK)
            out[start : start + BLOCK] = values[: count - start]
        return torch.from_numpy(out).reshape(tuple(shape))

    def generator(self, *, stream: str, step: int, index: int = 0) -> torch.Generator:
        """A torch generator for what is not privacy noise (crops, latent draws) of one patient.

        Its seed is secret and reproducible; its values are not a CSPRNG's and must not be used
        as noise of a mechanism.
        """
        key = self._cipher_key(stream, step, "generator")
        block = _keystream(key, index, 0, bytes(8))
        seed = int.from_bytes(block, "big") >> 1
        return torch.Generator().manual_seed(seed)

    def commitment(self) -> bytes:
        """32 bytes that are equal for equal keys and tell nothing else about a key (HKDF)."""
        return derive(self._key, "medvae commitment")

    def _cipher_key(self, stream: str, step: int, use: str = "noise") -> bytes:
        if not stream:
            raise UsageError("noise needs the name of its stream")
        if type(step) is not int or not 0 <= step < 1 << 63:
            raise UsageError(f"the step of a noise stream must be 0 or more, not {step!r}")
        return derive(self._key, f"medvae {use} {step} {stream}")


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
    """The buffers of a request, used again for each block: fresh ones cost as much as the sums.

    They hold noise in clear while a request lasts, like the result itself.
    """

    def __init__(self, key: bytes, step: int) -> None:
        self._key, self._step = key, step
        self._raw = bytearray(_BYTES + 15)
        self._signs = np.empty(2 * _PAIRS, dtype=np.uint64)
        self._floats = np.empty((5, _PAIRS))
        self._out = np.empty((2, BLOCK // 2))

    def block(self, block: int) -> np.ndarray:
        """BLOCK normals (float64, multiples of 2^-20): four Box-Muller pairs summed, halved.

        Each pair takes two 64-bit words: 53 bits of radius or of angle in one quadrant, and a
        bit of sign. The result is overwritten by the next call.
        """
        counter = self._step.to_bytes(8, "big") + (block * (_BYTES // 16)).to_bytes(8, "big")
        cipher = Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor()
        cipher.update_into(_ZEROS, self._raw)
        bits = np.frombuffer(self._raw, dtype="<u8", count=2 * _PAIRS)
        np.left_shift(bits, _SIGN, out=self._signs)
        np.right_shift(bits, _DROP, out=bits)
        radius, angle, square, sine, cosine = self._floats
        # (0, 1]: the logarithm must be finite.
        np.add(bits[:_PAIRS], 1.0, out=radius)
        radius *= 2.0**-53
        np.log(radius, out=radius)
        radius *= -1.0
        np.sqrt(radius, out=radius)
        np.multiply(bits[_PAIRS:], math.pi / 2 * 2.0**-53, out=angle)
        angle -= math.pi / 4
        np.multiply(angle, angle, out=square)
        _horner(square, _SINE, sine)
        sine *= angle
        _horner(square, _COSINE, cosine)
        # Turned by pi/4 (times sqrt(2), which the radius above has left out) the angle is in
        # the first quadrant; two signs spread it over the circle.
        np.add(cosine, sine, out=angle)
        cosine -= sine
        for half, part, signs in zip(
            self._out, (cosine, angle), self._signs.reshape(2, -1), strict=True
        ):
            part *= radius
            word = part.view(np.uint64)
            np.bitwise_xor(word, signs, out=word)
            np.sum(part.reshape(SUM_OF, -1), axis=0, out=half)
        self._out *= 2.0**GRID_BITS / math.sqrt(SUM_OF)
        np.rint(self._out, out=self._out)
        self._out *= 2.0**-GRID_BITS
        return self._out.reshape(-1)


def _horner(x: np.ndarray, coefficients: list[float], out: np.ndarray) -> None:
    """The polynomial sum of coefficients[k] x^k, into `out`."""
    np.multiply(x, coefficients[-1], out=out)
    for coefficient in coefficients[-2:0:-1]:
        out += coefficient
        out *= x
    out += coefficients[0]
