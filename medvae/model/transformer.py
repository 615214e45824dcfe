"""The transformer variant: volumes as tokens, MONAI transformer blocks about the latent.

A token is a patch of the grid that the network is given; its place is told by sines of its
coordinates (Vaswani et al. 2017), so any grid goes through the same weights. Latents come
from fully connected heads on every token. LayerNorm only: samples never meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import Tensor, nn

from medvae.model import frontend
from medvae.model.base import RESIDUAL, VAE


@dataclass(frozen=True)
class TokenShape:
    """How large a network is: channels of a token, heads, blocks before and after the latent."""

    width: int
    heads: int
    encoder_blocks: int
    decoder_blocks: int


class Tokens(nn.Module):
    """[B, inputs, *G] to [B, outputs, *G]: every grid point is a token that sees all others."""

    def __init__(
        self, inputs: int, outputs: int, width: int, heads: int, blocks: int, *, zero: bool
    ) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, 4 * width, heads, use_flash_attention=True)
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        if zero:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        grid = tuple(x.shape[2:])
        tokens = self.first(x.flatten(2).transpose(1, 2))
        tokens = tokens + places(grid, self.width).to(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        result: Tensor = self.head(self.norm(tokens)).float()
        return result.transpose(1, 2).reshape(x.shape[0], -1, *grid)


class FoldedTokens(nn.Module):
    """`Tokens` over patches of two grid points along each axis: same grid in and out.

    Starts at 0, as a correction to the linear path should.
    """

    def __init__(
        self, dims: int, inputs: int, outputs: int, shape: TokenShape, blocks: int
    ) -> None:
        super().__init__()
        folds = 2**dims
        self.tokens = Tokens(
            folds * inputs, folds * outputs, shape.width, shape.heads, blocks, zero=True
        )

    def forward(self, x: Tensor) -> Tensor:
        return RESIDUAL * frontend.unfold(self.tokens(frontend.fold(x)))


def token_trunks(
    shape: TokenShape, dims: int
) -> tuple[Callable[[int, int], nn.Module], Callable[[int, int], nn.Module]]:
    """Networks before and after the latent of a linear path, as `conv.conv_trunks` makes them."""

    def trunk(blocks: int) -> Callable[[int, int], nn.Module]:
        return lambda inputs, outputs: FoldedTokens(dims, inputs, outputs, shape, blocks)

    return trunk(shape.encoder_blocks), trunk(shape.decoder_blocks)


class TransformerVAE(VAE):
    """Patches of 4 voxels along each axis as tokens; no linear path."""

    def __init__(
        self,
        shape: TokenShape,
        *,
        channels: int = 1,
        dims: int = 3,
        latent_channels: int = 8,
        latent_noise: float = 0.1,
        kl_weight: float = 1e-4,
    ) -> None:
        super().__init__(channels, dims, latent_channels * channels, latent_noise, kl_weight)
        patch = channels * 4**dims
        self.encoder = Tokens(
            patch,
            2 * self.latent_channels,
            shape.width,
            shape.heads,
            shape.encoder_blocks,
            zero=False,
        )
        self.decoder = Tokens(
            self.latent_channels,
            patch,
            shape.width,
            shape.heads,
            shape.decoder_blocks,
            zero=False,
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.encoder(frontend.fold(frontend.fold(x)))
        mean, spread = found.chunk(2, dim=1)
        return mean, self.log_variance(spread)

    def decode(self, z: Tensor) -> Tensor:
        return frontend.unfold(frontend.unfold(self.decoder(z)))


def places(grid: tuple[int, ...], width: int) -> Tensor:
    """Sines and cosines of each token's coordinates, [1, prod(grid), width]."""
    pairs = max(1, width // (2 * len(grid)))
    rates = 100.0 ** (-torch.arange(pairs, dtype=torch.float32) / pairs)
    parts = []
    for axis, n in enumerate(grid):
        angle = torch.arange(n, dtype=torch.float32)[:, None] * rates
        wave = torch.cat([angle.sin(), angle.cos()], dim=1)
        view = [1] * len(grid) + [2 * pairs]
        view[axis] = n
        parts.append(wave.view(view).expand(*grid, 2 * pairs))
    found = torch.cat(parts, dim=-1).flatten(0, -2)[:, :width]
    return nn.functional.pad(found, (0, width - found.shape[1]))[None]
