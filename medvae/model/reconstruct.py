"""A scan through the model and back, on its own grid, in its own units; and its code as a file."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medvae import modality as modalities
from medvae.errors import IntegrityError
from medvae.grid import denormalise, normalise
from medvae.model import tiles
from medvae.model.artifact import Artifact, load_model
from medvae.model.tiles import Array, Tiling
from medvae.volume import Volume

FORMAT = 2
# Longest axis of a scan, the limit of NIfTI-1.
LONGEST = 32767
TILING = Tiling()


def reconstruct(artifact: Artifact, volume: Volume, *, device: str = "cpu") -> Volume:
    """Encode and decode, keeping shape, geometry, intensity range and number type.

    Intensities are scaled as for training (by window or percentiles), so what
    is outside that range is clipped. The result is of a real patient, and as sensitive as the scan,
    whatever the model.
    """
    return decode(artifact, encode(artifact, volume, device=device), device=device)


def encode(
    artifact: Artifact, volume: Volume, *, device: str = "cpu", tiling: Tiling = TILING
) -> bytes:
    """The posterior means of a scan's tiles as a safetensors file.

    Holds, in tile order, z000000... [L, *G] int8 and s000000... [L], what one step of each
    channel is worth (rounding costs some hundredths of a dB); affine, the deflated mask if
    there is one, and as metadata what `decode` needs. A model of several channels is given
    the scan on each of them.
    """
    model = load_model(artifact).to(device)
    voxels = volume.single("a network's code")
    image, limits = normalise(voxels, artifact.config().data)
    tensors: dict[str, Tensor] = {"affine": torch.from_numpy(volume.affine.copy())}
    if volume.mask is not None:
        packed = zlib.compress(np.ascontiguousarray(volume.mask).tobytes(), 6)
        tensors["mask"] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    channels = np.broadcast_to(image, (model.channels, *image.shape))
    for number, mean in enumerate(tiles.encode(model, channels, tiling)):
        tensors[f"z{number:06d}"], tensors[f"s{number:06d}"] = _rounded(mean)
    facts = {
        "format": FORMAT,
        "tile": tiling.edge,
        "overlap": tiling.overlap,
        "shape": volume.shape,
        "limits": limits,
        "modality": volume.modality,
        "dtype": str(volume.voxels.dtype),
        "meta": volume.meta,
    }
    return save_tensors(tensors, metadata={"facts": json.dumps(facts)})


def _rounded(mean: Tensor) -> tuple[Tensor, Tensor]:
    """[L, *G] as int8 multiples of a step for each channel."""
    step = mean.flatten(1).abs().amax(dim=1).clamp_min(1e-9) / 127.0
    return (mean / _per_channel(step, mean)).round().to(torch.int8).contiguous(), step


def _per_channel(step: Tensor, latent: Tensor) -> Tensor:
    return step.view(-1, *[1] * (latent.ndim - 1))


def decode(artifact: Artifact, data: bytes, *, device: str = "cpu") -> Volume:
    """Invert `encode` with the same model; of several channels the mean is taken.

    Raises:
        IntegrityError: the bytes are not such a file, or of another model.
    """
    model = load_model(artifact).to(device)
    try:
        size = int.from_bytes(data[:8], "little")
        facts: dict[str, Any] = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["facts"])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r} is not {FORMAT}: encode the scan again")
        tensors = load_tensors(data)
        shape = tuple(int(n) for n in facts["shape"])
        if len(shape) != 3 or min(shape) < 1 or max(shape) > LONGEST:
            raise ValueError(f"{shape} is no shape of a scan")

        def latent(number: int) -> Tensor:
            z, step = tensors[f"z{number:06d}"], tensors[f"s{number:06d}"]
            return z.float() * _per_channel(step, z)

        tiling = Tiling(int(facts["tile"]), int(facts["overlap"]))
        image = tiles.decode(model, latent, shape, tiling).mean(axis=0)
        low, high = (float(v) for v in facts["limits"])
        exponent = modalities.get(facts["modality"]).exponent
        voxels = _in_units(image, (low, high), exponent, np.dtype(facts["dtype"]))
        mask = _mask(tensors["mask"], shape) if "mask" in tensors else None
        affine = tensors["affine"].numpy()
        return Volume(voxels, affine, facts["modality"], mask, facts["meta"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, zlib.error) as error:
        raise IntegrityError(
            "it holds no latents of this model, or they were changed: decode what medvae encode "
            "wrote with the same model"
        ) from error


def _in_units(
    image: Array, limits: tuple[float, float], exponent: float, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """The scan's own intensities and number type, one slab at a time."""
    voxels = np.empty(image.shape, dtype)
    for slab, scaled in zip(voxels, image, strict=True):
        values = denormalise(scaled, limits, exponent)
        slab[...] = np.rint(values) if dtype.kind in "iu" else values
    return voxels


def _mask(packed: Tensor, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    count = math.prod(shape)
    # Bounded by the shape: a crafted stream could unpack to any size.
    raw = zlib.decompressobj().decompress(packed.numpy().tobytes(), count + 1)
    if len(raw) != count:
        raise ValueError("the mask is of another shape")
    return np.frombuffer(bytearray(raw), dtype=np.uint8).reshape(shape)
