"""Low-rank updates of a network's inner weights (Hu et al. 2021), to train few numbers under DP.

A weight W [out, ...] becomes W + B A with B [out, r] starting at 0 and A [r, rest] random:
the network starts as it was, and `merge_lora` leaves a plain network behind.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from medvae.model.base import VAE


class _LowRank(nn.Module):
    """The parametrisation W -> W + B A."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rest = weight[0].numel()
        start = torch.randn((rank, rest), generator=generator) / math.sqrt(rest)
        self.lora_in = nn.Parameter(start.to(weight.device))
        self.lora_out = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.lora_out @ self.lora_in).view_as(weight)


def add_lora(model: VAE, rank: int = 1, seed: int = 0) -> None:
    """Give every weight inside the network's blocks a low-rank update."""
    generator = torch.Generator().manual_seed(seed)
    for name, layer in list(model.named_modules()):
        if ".blocks." in name and isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            low = _LowRank(layer.weight, rank, generator)
            parametrize.register_parametrization(layer, "weight", low)


def merge_lora(model: VAE) -> None:
    """Add the updates into the weights; a network without any is left as it is."""
    for layer in list(model.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
