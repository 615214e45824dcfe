"""The engine's subjects and its reference: what other tests of the engine build on."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medvae.privacy import DPTrainer, Mechanism, NoiseSource
from medvae.privacy.lattice import Lattice

CLIP = 0.7


class Attention(nn.Module):
    """Voxels attend to one another; projections held by the container itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * channels, channels) / channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = (tokens @ self.weight.T).chunk(3, -1)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + out.transpose(1, 2).view_as(x)


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Flat(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


def build(layers: list[str], channels: int, size: int, seed: int) -> nn.Module:
    """A small network through the named layers; volumes [K, 1, size, size, size]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts: list[nn.Module] = [nn.Conv3d(1, channels, 3, padding=1)]
        for name in layers:
            parts.append(
                {
                    "conv": lambda: nn.Conv3d(channels, channels, 3, padding=1),
                    "dilated": lambda: nn.Conv3d(channels, channels, 3, padding=2, dilation=2),
                    "grouped": lambda: nn.Conv3d(channels, channels, 1, groups=channels),
                    "transposed": lambda: nn.ConvTranspose3d(channels, channels, 3, padding=1),
                    "group norm": lambda: nn.GroupNorm(channels // 2, channels),
                    "silu": lambda: nn.SiLU(),
                    "attention": lambda: Attention(channels),
                    "checkpoint": lambda: Checkpointed(
                        nn.Sequential(nn.Conv3d(channels, channels, 3, padding=1), nn.SiLU()), False
                    ),
                    "reentrant": lambda: Checkpointed(
                        nn.Sequential(nn.Conv3d(channels, channels, 3, padding=1), nn.SiLU()), True
                    ),
                }[name]()
            )
        parts.append(Flat(channels * size**3))
        return nn.Sequential(*parts)


NAMES = (
    "conv", "dilated", "grouped", "transposed", "group norm", "silu", "attention", "checkpoint",
    "reentrant",
)  # fmt: skip


def loss(model: nn.Module, views: torch.Tensor) -> torch.Tensor:
    out = model(views)
    target = torch.linspace(-1, 1, out.shape[-1], dtype=out.dtype, device=out.device)
    return (out - target).square().sum(-1).mean()


def trainer_of(model: nn.Module, **changes) -> DPTrainer:
    optimizer = changes.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=1.0)
    arguments = {
        "mechanism": Mechanism("test", 0.5, 50, 1.0),
        "clip": CLIP,
        "divisor": 4.0,
        "noise": NoiseSource(bytes(32)),
    } | changes
    return DPTrainer(model, optimizer, **arguments)


def noise_of(count: int, step: int = 0, stream: str = "test") -> torch.Tensor:
    """float32 [count] the noise that `trainer_of` adds to its sum in a step."""
    lattice = Lattice.of(1.0, CLIP)
    steps = NoiseSource(bytes(32)).discrete_gaussian(count, lattice.sigma, stream=stream, step=step)
    return (torch.from_numpy(steps) * lattice.grid).float()


def noiseless(model: nn.Module, patients, loss=loss, **changes) -> torch.Tensor:
    """The engine's sum of clipped gradients, flat, before noise."""
    trainer = trainer_of(model, **changes)
    trainer._collect(patients, loss)
    steps = torch.cat([one.reshape(-1) for one in trainer._optimizer.sums()])
    return steps.double() * trainer._optimizer._lattice.grid


def reference(model: nn.Module, patients, clip: float, clipping: str, loss=loss) -> torch.Tensor:
    """The same sum, by autograd in the model's precision and clipping in float64."""
    parameters = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for patient in patients:
        model.zero_grad()
        loss(model, patient).backward()
        found = [p.grad for p in parameters]
        model.zero_grad()
        flat = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).double().reshape(-1)
                for p, g in zip(parameters, found, strict=True)
            ]
        )
        norm = flat.norm()
        if not math.isfinite(norm):
            continue
        factor = min(1.0, clip / norm) if clipping == "flat" else clip / (norm + 0.01)
        total += flat * factor
    return total


def distance(gradient: torch.Tensor, expected: torch.Tensor) -> float:
    return float((gradient.double() - expected).norm() / max(float(expected.norm()), 1e-12))
