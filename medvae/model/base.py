"""The interface of all networks: encode, decode, sample, and loss.

Models never mix samples: GroupNorm or LayerNorm only, no dropout, no running statistics,
so one patient's gradient is one patient's. Every constant of the loss is public.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvae.errors import UsageError

# Smallest standard deviation of a crop, on the scale [-1, 1]; flatter ones count as having it.
FLAT = 0.02

# Smallest standard deviation of a sample in the loss. Fainter samples are below the latent noise
# and must not dominate the loss.
FAINT = 0.15


# Factor of the last layer, which adds to a linear path with standard deviation 1. With this factor,
# one step of an Adam-like optimizer changes the output by less than that.
RESIDUAL = 0.1


@dataclass(frozen=True)
class Common:
    """Parameters that all kinds of networks share.

    Attributes:
        channels: channels of a volume.
        dims: 2 or 3 spatial axes.
        latent_channels: channels of a latent for each of the volume's.
        latent_noise: smallest standard deviation of the posterior, in units of the latents' own
            (which is 1 on procedural volumes).
        kl_weight: weight of the Kullback-Leibler term, for each latent number.
    """

    channels: int = 1
    dims: int = 3
    latent_channels: int = 8
    latent_noise: float = 0.1
    kl_weight: float = 1e-4


@dataclass(frozen=True)
class Shape:
    """Size of a network: channels, and residual blocks before and after the latent."""

    width: int
    encoder_blocks: int
    decoder_blocks: int

    @property
    def blocks(self) -> tuple[int, int]:
        """Before and after the latent."""
        return self.encoder_blocks, self.decoder_blocks


@dataclass(frozen=True)
class TokenShape(Shape):
    """Size of a transformer; `width` is the number of channels of a token."""

    heads: int


# Makes a network [B, inputs, *H] -> [B, outputs, *H] that starts at 0.
Trunk = Callable[[int, int], nn.Module]


class VAE(nn.Module, ABC):
    """A variational auto-encoder of volumes.

    Attributes:
        channels, dims, latent_noise, kl_weight: see `Common`.
        factor: ratio of a volume's spatial sizes to a latent's; sizes are multiples of it.
        latent_channels: channels of a latent, for all channels of a volume.
    """

    factor: ClassVar[int] = 4

    def __init__(self, common: Common) -> None:
        super().__init__()
        self.channels = common.channels
        self.dims = common.dims
        self.latent_channels = common.latent_channels * common.channels
        self.latent_noise = common.latent_noise
        self.kl_weight = common.kl_weight

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, *S] in [-1, 1] to posterior mean and log variance, [B, L, *S / factor]."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """[B, L, *S / factor] to [B, C, *S], near [-1, 1] but not clipped."""

    def log_variance(self, logits: Tensor) -> Tensor:
        """Log variance of the posterior from unconstrained numbers.

        The std is at least `latent_noise`, which keeps the decoder robust to noise.
        """
        return 2.0 * math.log(max(self.latent_noise, 1e-3)) + F.softplus(logits - 4.0)

    def sample(self, mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
        """A sample of the posterior from standard normal `noise` of the latent's shape."""
        return mean + torch.exp(0.5 * logvar) * noise

    def spatial_latent(self, z: Tensor) -> Tensor:
        """Latents [B, L, *G] as images [B, M, *H] whose neighbours are neighbours in space.

        Orthonormal, and invertible if H * M = G * L. The prior is defined on these images.
        """
        return z

    def from_spatial_latent(self, image: Tensor) -> Tensor:
        """Invert `spatial_latent`."""
        return image

    def latent_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The shape [L, *S / factor] of one latent.

        Raises:
            UsageError: a size is no multiple of the factor, or the number of axes is wrong.
        """
        if len(size) != self.dims or any(n % self.factor or n < self.factor for n in size):
            raise UsageError(
                f"the model takes {self.dims} sizes that are multiples of {self.factor}, "
                f"not {'x'.join(map(str, size))}: change data.size"
            )
        return (self.latent_channels, *[n // self.factor for n in size])

    def loss(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Per-sample loss, [B]: relative squared error plus weighted divergence from N(0, I).

        The error is relative to each sample's own variance (with a floor), so that faint
        and strong contrast count alike; nothing of another sample enters. Without
        `noise` (standard normal, of the latents' shape) the posterior mean is decoded.
        """
        return self.losses(x, noise)[0]

    def losses(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`loss` and the reconstruction [B, C, *S] that it judged."""
        mean, logvar = self.encode(x)
        restored = self.decode(mean if noise is None else self.sample(mean, logvar, noise))
        axes = tuple(range(1, x.ndim))
        variance = x.var(dim=axes, correction=0) + FAINT**2
        error = (restored - x).square().mean(dim=axes) / variance
        divergence = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean(dim=axes)
        return error + self.kl_weight * divergence, restored
