"""A smaller file for the same network: weights rounded to bfloat16 or to 8 bits.

Rounding a released model is post-processing. What is lost is measured on procedural
volumes and stated in the facts; the sealed original stays what it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvae.errors import UsageError
from medvae.model.artifact import Artifact, load_model
from medvae.model.base import VAE
from medvae.model.procedural import batch

LEVELS = {"bf16": 16, "int8": 8}
# Kept as they are: few numbers, and sensitive ones.
_EXACT = 256
_STREAM, _COUNT, _SIDE = 31, 16, 24


def compress(artifact: Artifact, to: str) -> Artifact:
    """Round the network's weights; prior and atlas stay.

    int8: each output channel's weights as multiples of a 255th of twice their largest,
    stored as int8 "model.NAME:int8" beside a float32 "model.NAME:step". bf16: stored as such.

    Returns:
        An artifact whose facts hold `compression`: to, bytes before and after, and the mean
        PSNR (dB, peak 2) on procedural volumes before and after.

    Raises:
        UsageError: an unknown `to`, or a model that is compressed already.
    """
    if to not in LEVELS:
        raise UsageError(f"compress to one of {', '.join(LEVELS)}, not {to!r}")
    if "compression" in artifact.facts:
        raise UsageError("the model is compressed already; compress the original")
    tensors: dict[str, Tensor] = {}
    for name, value in artifact.tensors.items():
        small = value.numel() < _EXACT or not value.is_floating_point()
        if small or not name.startswith("model."):
            tensors[name] = value
        elif to == "bf16":
            tensors[name] = value.bfloat16()
        else:
            tensors[f"{name}:int8"], tensors[f"{name}:step"] = _eight_bits(value)
    made = Artifact(tensors, dict(artifact.facts))
    made.facts["compression"] = {
        "to": to,
        "bytes_before": _size(artifact),
        "bytes_after": _size(made),
        "psnr_before": _psnr(load_model(artifact), artifact),
        "psnr_after": _psnr(load_model(made), artifact),
        "measured_on": f"{_COUNT} procedural volumes",
    }
    return made


def _eight_bits(value: Tensor) -> tuple[Tensor, Tensor]:
    rows = value.float().flatten(1) if value.ndim > 1 else value.float()[:, None]
    step = rows.abs().amax(dim=1).clamp_min(1e-12) / 127.0
    return (rows / step[:, None]).round().to(torch.int8).view_as(value), step


def _size(artifact: Artifact) -> int:
    return sum(t.numel() * t.element_size() for t in artifact.tensors.values())


@torch.no_grad()
def _psnr(model: VAE, artifact: Artifact) -> float:
    cfg = artifact.config()
    size = (_SIDE,) * model.dims
    x = torch.from_numpy(batch(size, cfg.data.modality, _STREAM, 0, _COUNT))
    x = x.expand(-1, model.channels, *[-1] * model.dims)
    error = (model.decode(model.encode(x)[0]).clamp(-1, 1) - x).square().flatten(1).mean(1)
    return round(float((10 * torch.log10(4 / error)).mean()), 3)
