"""A scan through the model and back, on its own grid, in its own units."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medvae.errors import IntegrityError
from medvae.grid import denormalise, normalise
from medvae.model.artifact import Artifact, load_model
from medvae.model.base import VAE
from medvae.volume import Volume

# Volumes larger than this along an axis are cut into tiles that overlap by OVERLAP.
TILE = 96
OVERLAP = 16

Array = npt.NDArray[np.float32]
Corner = tuple[int, ...]


def reconstruct(artifact: Artifact, volume: Volume, *, device: str = "cpu") -> Volume:
    """Encode and decode, keeping shape, geometry, intensity range and number type.

    Intensities are scaled as for training (CT by the window, MRI by percentiles), so what
    lies outside that range is clipped. The result is of a real patient: as private as he
    or she is, whatever the model.
    """
    return decode(artifact, encode(artifact, volume, device=device), device=device)


def encode(artifact: Artifact, volume: Volume, *, device: str = "cpu") -> bytes:
    """The posterior means of a scan's tiles as a safetensors file.

    Holds: z000000... [L, *G] float16 latents in tile order, affine, mask if any, and as
    metadata what `decode` needs.
    """
    model = load_model(artifact).to(device)
    image, limits = normalise(volume.voxels, artifact.config().data)
    tensors: dict[str, Tensor] = {"affine": torch.from_numpy(volume.affine.copy())}
    if volume.mask is not None:
        tensors["mask"] = torch.from_numpy(volume.mask.copy())
    for number, (_, tile) in enumerate(_tiles(image, model)):
        with torch.no_grad():
            mean, _ = model.encode(torch.from_numpy(tile)[None].to(device))
        tensors[f"z{number:06d}"] = mean[0].half().cpu()
    facts = {
        "shape": volume.shape,
        "limits": limits,
        "modality": volume.modality,
        "dtype": str(volume.voxels.dtype),
        "meta": volume.meta,
    }
    return save_tensors(tensors, metadata={"facts": json.dumps(facts)})


def decode(artifact: Artifact, data: bytes, *, device: str = "cpu") -> Volume:
    """Invert `encode` with the same model.

    Raises:
        IntegrityError: the bytes are not such a file, or of another model.
    """
    model = load_model(artifact).to(device)
    try:
        size = int.from_bytes(data[:8], "little")
        facts: dict[str, Any] = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["facts"])
        tensors = load_tensors(data)
        shape = tuple(int(n) for n in facts["shape"])
        image = _assemble(model, shape, tensors, device)
        low, high = (float(v) for v in facts["limits"])
        voxels = denormalise(image, (low, high))
        dtype = np.dtype(facts["dtype"])
        if dtype.kind in "iu":
            voxels = np.rint(voxels)
        mask = tensors["mask"].numpy() if "mask" in tensors else None
        return Volume(
            voxels.astype(dtype), tensors["affine"].numpy(), facts["modality"], mask, facts["meta"]
        )
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise IntegrityError(f"stored bytes are no latents of this model: {error}") from error


def _assemble(model: VAE, shape: tuple[int, ...], tensors: dict[str, Tensor], device: str) -> Array:
    total = np.zeros(shape, dtype=np.float32)
    weight = np.zeros(shape, dtype=np.float32)
    for number, (corner, size) in enumerate(_layout(shape, model)):
        z = tensors[f"z{number:06d}"].float()[None].to(device)
        if tuple(z.shape[1:]) != model.latent_shape(_padded(size, model)):
            raise ValueError(f"latent {number} has another shape")
        with torch.no_grad():
            tile = model.decode(z)[0, 0].cpu().numpy()
        where = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        if model.dims == 2:
            tile = tile[..., None]
        window = _window(size)
        total[where] += tile[tuple(slice(0, n) for n in size)] * window
        weight[where] += window
    return total / weight


def _tiles(image: Array, model: VAE) -> Iterator[tuple[Corner, Array]]:
    """Corners and tiles [1, *padded]; the border is mirrored up to the model's factor."""
    for corner, size in _layout(image.shape, model):
        where = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        tile = image[where]
        padded = _padded(size, model)
        if model.dims == 2:
            tile = tile[..., 0]
        pads = [(0, want - have) for want, have in zip(padded, tile.shape, strict=True)]
        yield corner, np.pad(tile, pads, mode="symmetric" if min(tile.shape) > 3 else "edge")[None]


def _layout(shape: tuple[int, ...], model: VAE) -> Iterator[tuple[Corner, Corner]]:
    """Corner and size of each tile; a 2-D model takes one slice at a time."""
    axes = []
    for axis, n in enumerate(shape):
        if axis >= model.dims:
            axes.append([(i, 1) for i in range(n)])
        elif n <= TILE + OVERLAP:
            axes.append([(0, n)])
        else:
            count = -(-(n - OVERLAP) // (TILE - OVERLAP))
            starts = np.linspace(0, n - TILE, count).astype(int)
            axes.append([(int(s), TILE) for s in starts])
    for parts in itertools.product(*axes):
        yield tuple(p[0] for p in parts), tuple(p[1] for p in parts)


def _padded(size: Corner, model: VAE) -> tuple[int, ...]:
    factor = model.factor
    return tuple(-(-n // factor) * factor for n in size[: model.dims])


def _window(size: Corner) -> Array:
    """Weights that fall towards a tile's border, so that tiles melt into one another."""
    window = np.ones(size, dtype=np.float32)
    for axis, n in enumerate(size):
        ramp = np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1) / OVERLAP
        shape = [1] * len(size)
        shape[axis] = n
        window *= np.clip(ramp, 1e-3, 1.0).reshape(shape).astype(np.float32)
    return window
