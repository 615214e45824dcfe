"""What a run will take: measured on made-up voxels of the same shape, never on a patient's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvae.config import RunConfig
    from medvae.privacy import Plan

# Each patient costs a forward and a backward pass per view; the peak of memory is one
# view's activations. Overheads of the process itself, measured with `medvae train`.
_BASE_BYTES = 500 << 20


def estimate(cfg: RunConfig, made: Plan) -> dict[str, Any]:
    """Seconds and bytes of the private stages, from one timed step on random voxels."""
    import torch

    from medvae.model import build

    model = build(cfg.model)
    voxels = torch.rand(1, 1, *cfg.data.size) * 2 - 1
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        torch.autograd.backward(model.loss(voxels).sum())
        seconds.append(time.perf_counter() - began)
    model.zero_grad(set_to_none=True)
    steps = sum(
        m.steps * m.sample_rate * made.patients * (cfg.finetune.views if m.steps > 1 else 1)
        for m in made.mechanisms
    )
    free = cfg.atlas.steps * cfg.pretrain.batch if cfg.atlas.share else 0
    activations = int(voxels.numel() * 4 * 150)
    return {
        "seconds": round(min(seconds) * (steps + free), 1),
        "memory_bytes": _BASE_BYTES + activations,
    }
