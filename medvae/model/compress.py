"""A smaller file for the same network: weights in bfloat16 or 8 bits, the smallest dropped.

Post-processing of a released model. The loss is measured on procedural volumes and stated in the
facts; the sealed original does not change.
"""

from __future__ import annotations

import hashlib
from typing import Any, get_args

import torch

from medvae.errors import UsageError
from medvae.model.artifact import Artifact, load_model
from medvae.model.base import VAE
from medvae.model.packing import Form, pack
from medvae.model.procedural import batch

# Smaller tensors are not compressed: they save little, and errors in them cost much.
_EXACT = 256
_STREAM, _COUNT, _SIDE = 31, 16, 24


def compress(artifact: Artifact, weights: str, prune: float = 0.0) -> Artifact:
    """Round and prune the network's weights; prior, atlas and every other fact stay.

    Args:
        artifact: a model as it was trained.
        weights: "bf16" or "int8" (see `medvae.model.packing`).
        prune: fraction of each weight's smallest numbers to drop, in [0, 1).

    Returns:
        An artifact whose facts hold `compression`: weights, prune, SHA-256 of the
        original, bytes before and after, and the mean PSNR (dB, peak 2) of reconstructed
        procedural volumes before and after.

    Raises:
        UsageError: an unknown form, a fraction outside its range, or a model that is
            compressed already.
    """
    form = _form(weights)
    if not 0 <= prune < 1:
        raise UsageError(f"--prune must be at least 0 and below 1, not {prune:g}")
    if "compression" in artifact.facts:
        raise UsageError("the model is compressed already; compress the one that it came from")
    compressed = Artifact({}, {**artifact.facts})
    for name, value in artifact.tensors.items():
        small = value.numel() < _EXACT or not value.is_floating_point()
        is_plain = small or not name.startswith("model.")
        compressed.tensors |= {name: value} if is_plain else pack(name, value, form, prune)
    before = artifact.to_bytes()
    # Part of the network's description, which the card of a release shows.
    compressed.facts["model"] = {**artifact.facts["model"], "weights": describe(weights, prune)}
    compressed.facts["compression"] = {
        "weights": weights,
        "prune": prune,
        "source_sha256": hashlib.sha256(before).hexdigest(),
        "bytes_before": len(before),
        "bytes_after": len(compressed.to_bytes()),
        **_loss(artifact, compressed),
    }
    return compressed


def describe(weights: str, prune: float) -> str:
    """In a few words: `int8`, `bf16, 20% pruned`."""
    return f"{weights}, {prune:.0%} pruned" if prune else weights


def _form(weights: str) -> Form:
    for form in get_args(Form):
        if weights == form:
            return form  # type: ignore[no-any-return]
    raise UsageError(f"--weights must be one of {', '.join(get_args(Form))}, not {weights!r}")


def _loss(artifact: Artifact, compressed: Artifact) -> dict[str, Any]:
    return {
        "psnr_before": _psnr(load_model(artifact), artifact),
        "psnr_after": _psnr(load_model(compressed), artifact),
        "psnr_of": f"{_COUNT} procedural volumes",
    }


@torch.no_grad()
def _psnr(model: VAE, artifact: Artifact) -> float:
    cfg = artifact.config()
    size = (_SIDE,) * model.dims
    x = torch.from_numpy(batch(size, cfg.data.modality, _STREAM, 0, _COUNT))
    x = x.expand(-1, model.channels, *[-1] * model.dims)
    error = (model.decode(model.encode(x)[0]).clamp(-1, 1) - x).square().flatten(1).mean(1)
    return round(float((10 * torch.log10(4 / error)).mean()), 3)
