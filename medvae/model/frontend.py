"""The linear path: a volume as a pre-emphasised image of half the resolution.

`analyse` keeps an eighth of the discrete cosine coefficients of a volume (a quarter in
2-D), lifts the high ones by a fixed public gain, and writes them on a grid of half the size;
`synthesise` is its exact inverse on what was kept. No parameter, no private number.

Which are kept: the cube of the lowest half along each axis, but for its corners. A corner
is the highest frequency of all; its place is taken by the frequency just past the middle
of one axis that a body-centred lattice would alias there, which is lower. What is kept is
so nearly a ball, as good low-pass sampling wants (Petersen and Middleton 1962), and stays
local in space.

Why the gain: with noise of one size on every latent number, and independent components of
variance v_k, the mean squared error after the inverse is smallest when component k is sent
with power proportional to sqrt(v_k), that is with amplitude gain v_k ** -1/4 (Lagrange on
sum v_k * noise / power_k; the pre-emphasis of radio). Images with edges have a power
spectrum near f ** -4 in three dimensions, so the gain grows like f.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

# Frequencies in cycles a voxel. Below KNEE the gain is flat; at REFERENCE it is 1.
KNEE = 0.03
REFERENCE = 0.08
SLOPE = 1.0


@lru_cache(maxsize=64)
def cosine_basis(size: int) -> Tensor:
    """The orthonormal DCT-II as a [size, size] float32 matrix, frequencies along rows."""
    position = torch.arange(size, dtype=torch.float64) + 0.5
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    basis = torch.cos(torch.pi * frequency * position / size) * (2.0 / size) ** 0.5
    basis[0] *= 0.5**0.5
    result: Tensor = basis.float()
    return result


@lru_cache(maxsize=32)
def kept(size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Where each coefficient of the half grid comes from, and its gain.

    Returns:
        Flat index into the coefficients of a volume of shape `size`, and float32 gain;
        both of shape [prod(size) / 2**d], each index once.
    """
    dims = len(size)
    half = torch.meshgrid(*[torch.arange(n // 2) for n in size], indexing="ij")
    # (k + 1/2) / n in (0, 1/2): the half step keeps the two alias images apart.
    relative = torch.stack([(k + 0.5) / n for k, n in zip(half, size, strict=True)])
    top, axis = relative.max(dim=0)
    corner = relative.sum(dim=0) + top > 1.0 + 0.25 * (dims - 1)
    flat = torch.zeros_like(half[0])
    power = torch.zeros(half[0].shape, dtype=torch.float64)
    for i, n in enumerate(size):
        alias = torch.where(axis == i, n - 1 - half[i], n // 2 - 1 - half[i])
        k = torch.where(corner, alias, half[i])
        flat = flat * n + k
        power = power + (k / (2 * n)).double().square()
    gain = ((KNEE**2 + power) / (KNEE**2 + REFERENCE**2)) ** (SLOPE / 2)
    return flat.flatten(), gain.float().flatten()


def cosine_transform(x: Tensor, inverse: bool = False) -> Tensor:
    """The orthonormal cosine transform over all but the first two axes, or its inverse."""
    for axis in range(2, x.ndim):
        basis = cosine_basis(x.shape[axis]).to(x.device)
        x = torch.movedim(torch.movedim(x, axis, -1) @ (basis if inverse else basis.T), -1, axis)
    return x


def analyse(x: Tensor) -> Tensor:
    """[B, C, *S] to [B, C, *S / 2], float32; every size in S is even. Linear."""
    size = tuple(x.shape[2:])
    index, gain = (t.to(x.device) for t in kept(size))
    with torch.autocast(x.device.type, enabled=False):
        # An orthonormal half grid holds 2**(d/2) times the values: undo that.
        scale = 2.0 ** (-len(size) / 2)
        h = cosine_transform(x.float()).flatten(2)[..., index] * (gain * scale)
        return cosine_transform(h.unflatten(2, [n // 2 for n in size]), inverse=True)


def synthesise(h: Tensor) -> Tensor:
    """[B, C, *S / 2] to [B, C, *S]: `analyse(synthesise(h)) == h` up to rounding."""
    size = tuple(2 * n for n in h.shape[2:])
    index, gain = (t.to(h.device) for t in kept(size))
    with torch.autocast(h.device.type, enabled=False):
        scale = 2.0 ** (len(size) / 2)
        x = cosine_transform(h.float()).flatten(2) * (scale / gain)
        full = x.new_zeros(*x.shape[:2], math.prod(size)).index_copy(2, index, x)
        return cosine_transform(full.unflatten(2, list(size)), inverse=True)


def beyond(x: Tensor) -> Tensor:
    """[B, C, *S]: what `analyse` drops, `x - synthesise(analyse(x))` without the half grid."""
    index, _ = kept(tuple(x.shape[2:]))
    with torch.autocast(x.device.type, enabled=False):
        coefficients = cosine_transform(x.float())
        dropped = coefficients.flatten(2).index_fill(2, index.to(x.device), 0.0)
        return cosine_transform(dropped.view_as(coefficients), inverse=True)


def fold(x: Tensor) -> Tensor:
    """Space to channels: [B, C, *S] to [B, C * 2**d, *S / 2], nothing lost."""
    batch, channels, *size = x.shape
    dims = len(size)
    split = [part for n in size for part in (n // 2, 2)]
    x = x.reshape(batch, channels, *split)
    order = [0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2)]
    return x.permute(order).reshape(batch, channels * 2**dims, *[n // 2 for n in size])


def unfold(x: Tensor) -> Tensor:
    """Invert `fold`: [B, C * 2**d, *S] to [B, C, *2 S]."""
    batch, folded, *size = x.shape
    dims = len(size)
    channels = folded // 2**dims
    x = x.reshape(batch, channels, *[2] * dims, *size)
    order = [0, 1]
    for axis in range(dims):
        order += [2 + dims + axis, 2 + axis]
    return x.permute(order).reshape(batch, channels, *[2 * n for n in size])
