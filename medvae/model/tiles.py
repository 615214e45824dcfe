"""Volumes of any size through a network: cut into tiles, coded one by one, blended.

One tile is in memory beside the volume. Tiles overlap, with weights that fall towards their
borders, so there is no seam.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medvae.model.base import VAE

Array = npt.NDArray[np.float32]
Corner = tuple[int, ...]


@dataclass(frozen=True)
class Tiling:
    """Tiles of at most `edge` voxels a side, which overlap by `overlap` voxels."""

    edge: int = 96
    overlap: int = 8

    def __post_init__(self) -> None:
        if not 0 < 2 * self.overlap <= self.edge <= 1024:
            raise ValueError(f"tiles of {self.edge} voxels cannot overlap by {self.overlap}")

    def along(self, n: int, factor: int) -> list[tuple[int, int]]:
        """(start, size) of the tiles along an axis of n voxels: as few as possible, of one size."""
        if n <= self.edge + self.overlap:
            return [(0, n)]
        count = -(-(n - self.overlap) // (self.edge - self.overlap))
        size = -(-(n + (count - 1) * self.overlap) // count)
        # A multiple of the factor needs no padding; it is at most `edge` if that is a multiple.
        size = min(-(-size // factor) * factor, max(self.edge, size))
        return [(int(start), size) for start in np.linspace(0, n - size, count)]


def layout(model: VAE, shape: Corner, tiling: Tiling) -> Iterator[tuple[Corner, Corner]]:
    """Corner and size [X, Y, Z] of each tile; a 2-D model takes one slice at a time."""
    axes = [
        tiling.along(n, model.factor) if axis < model.dims else [(i, 1) for i in range(n)]
        for axis, n in enumerate(shape)
    ]
    for parts in itertools.product(*axes):
        yield tuple(p[0] for p in parts), tuple(p[1] for p in parts)


def encode(model: VAE, image: Array, tiling: Tiling) -> Iterator[Tensor]:
    """Posterior means [L, *G] of the tiles of an image [C, X, Y, Z] in [-1, 1], in their order.

    Raises:
        ValueError: the image has another number of channels than the model.
    """
    if image.ndim != 4 or image.shape[0] != model.channels:
        raise ValueError(f"the model takes [{model.channels}, X, Y, Z], not {image.shape}")
    device = next(model.parameters()).device
    for corner, size in layout(model, image.shape[1:], tiling):
        where = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        tile = image[(slice(None), *where)]
        if model.dims == 2:
            tile = tile[..., 0]
        pads = [(0, 0)]
        pads += [(0, w - n) for w, n in zip(padded(model, size), tile.shape[1:], strict=True)]
        mirrored = np.pad(tile, pads, mode="symmetric" if min(tile.shape[1:]) > 3 else "edge")
        with torch.no_grad():
            mean, _ = model.encode(torch.from_numpy(mirrored)[None].to(device))
        yield mean[0].cpu()


def decode(model: VAE, latent: Callable[[int], Tensor], shape: Corner, tiling: Tiling) -> Array:
    """The image [C, *shape] of latents given by their number.

    Raises:
        ValueError: a latent does not fit its tile. All are checked before the image is allocated.
    """
    for number, (_, size) in enumerate(layout(model, shape, tiling)):
        expected = model.latent_shape(padded(model, size))
        if tuple(latent(number).shape) != expected:
            raise ValueError(f"latent {number} has another shape than {expected}")
    device = next(model.parameters()).device
    image = np.zeros((model.channels, *shape), dtype=np.float32)
    weights = [np.zeros(n, dtype=np.float32) for n in shape]
    weighted: set[tuple[int, int]] = set()
    for number, (corner, size) in enumerate(layout(model, shape, tiling)):
        with torch.no_grad():
            tile = model.decode(latent(number).float()[None].to(device))[0].cpu().numpy()
        if model.dims == 2:
            tile = tile[..., None]
        where = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        tile = tile[(slice(None), *(slice(0, n) for n in size))]
        for axis, n in enumerate(size):
            ramp = window(n, tiling.overlap)
            tile = tile * _along(axis, ramp)
            if (axis, corner[axis]) not in weighted:
                weighted.add((axis, corner[axis]))
                weights[axis][where[axis]] += ramp
        image[(slice(None), *where)] += tile
    # Tiles form a grid, so the sum of their weights is a product of one along each axis.
    for axis, weight in enumerate(weights):
        image /= _along(axis, weight)
    return image


def padded(model: VAE, size: Corner) -> tuple[int, ...]:
    """Sizes of the network's input: multiples of its factor."""
    return tuple(-(-n // model.factor) * model.factor for n in size[: model.dims])


def window(n: int, overlap: int) -> Array:
    """Weights of a tile's voxels along an axis, falling towards both ends; never 0."""
    near = np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1)
    return np.clip(near / max(1, overlap), 1e-3, 1.0).astype(np.float32)


def _along(axis: int, values: Array) -> Array:
    view = [1, 1, 1, 1]
    view[1 + axis] = len(values)
    return values.reshape(view)
