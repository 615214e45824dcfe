"""The transformer variant: volumes as tokens, MONAI transformer blocks about the latent.

A token is a patch of the input grid. Its position is encoded by sines of its coordinates (Vaswani
et al. 2017), so the same weights serve any grid. Latents come from fully connected heads on every
token. LayerNorm only, so samples do not mix.
"""

from __future__ import annotations

from functools import partial

import torch
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import Tensor, nn

from medvae.model import frontend
from medvae.model.base import RESIDUAL, VAE, Common, TokenShape, Trunk


class Tokens(nn.Module):
    """[B, inputs, *G] to [B, outputs, *G]: each grid point is a token and attends to all."""

    def __init__(
        self, shape: TokenShape, blocks: int, inputs: int, outputs: int, *, zero: bool = False
    ) -> None:
        super().__init__()
        width = shape.width
        self.width = width
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, 4 * width, shape.heads, use_flash_attention=True)
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
        tokens = tokens + positions(grid, self.width).to(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        result: Tensor = self.head(self.norm(tokens)).float()
        return result.transpose(1, 2).reshape(x.shape[0], -1, *grid)


class FoldedTokens(nn.Module):
    """`Tokens` over patches of two grid points along each axis: same grid in and out.

    Starts at 0, as a correction to the linear path should.
    """

    def __init__(
        self, dims: int, shape: TokenShape, blocks: int, inputs: int, outputs: int
    ) -> None:
        super().__init__()
        folds = 2**dims
        self.tokens = Tokens(shape, blocks, folds * inputs, folds * outputs, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        return RESIDUAL * frontend.unfold(self.tokens(frontend.fold(x)))


def token_trunks(shape: TokenShape, dims: int) -> tuple[Trunk, Trunk]:
    """Networks before and after the latent of a linear path, as `conv.conv_trunks` makes them."""
    before, after = (partial(FoldedTokens, dims, shape, n) for n in shape.blocks)
    return before, after


class TransformerVAE(VAE):
    """Patches of 4 voxels along each axis as tokens; no linear path."""

    def __init__(self, shape: TokenShape, common: Common) -> None:
        super().__init__(common)
        patch = common.channels * 4**common.dims
        before, after = shape.blocks
        self.encoder = Tokens(shape, before, patch, 2 * self.latent_channels)
        self.decoder = Tokens(shape, after, self.latent_channels, patch)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        moments = self.encoder(frontend.fold(frontend.fold(x)))
        mean, logits = moments.chunk(2, dim=1)
        return mean, self.log_variance(logits)

    def decode(self, z: Tensor) -> Tensor:
        return frontend.unfold(frontend.unfold(self.decoder(z)))


def positions(grid: tuple[int, ...], width: int) -> Tensor:
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
    waves = torch.cat(parts, dim=-1).flatten(0, -2)[:, :width]
    return nn.functional.pad(waves, (0, width - waves.shape[1]))[None]
