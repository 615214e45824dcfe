"""Named sizes of the models, the cheapest for tests only, and how to build one."""

from __future__ import annotations

import math

import torch
from torch import nn

from medvae.config import ModelConfig
from medvae.errors import UsageError
from medvae.model.base import VAE, Common, Shape, TokenShape

CONV: dict[str, Shape] = {
    "tiny": Shape(width=8, encoder_blocks=1, decoder_blocks=1),
    "small": Shape(width=32, encoder_blocks=1, decoder_blocks=3),
    "base": Shape(width=64, encoder_blocks=2, decoder_blocks=6),
}

TRANSFORMER: dict[str, TokenShape] = {
    "tiny": TokenShape(width=12, heads=2, encoder_blocks=1, decoder_blocks=1),
    "small": TokenShape(width=96, heads=4, encoder_blocks=2, decoder_blocks=4),
    "base": TokenShape(width=240, heads=8, encoder_blocks=4, decoder_blocks=8),
}


def build(
    cfg: ModelConfig,
    channels: int = 1,
    *,
    dims: int = 3,
    latent_noise: float = 0.1,
    kl_weight: float = 1e-4,
    seed: int = 0,
) -> VAE:
    """The model that a configuration names, with fresh weights.

    Raises:
        UsageError: the configuration asks for what this kind does not have.
    """
    if dims not in (2, 3):
        raise UsageError(f"a model has 2 or 3 spatial axes, not {dims}")
    if cfg.front_end == "dct" and cfg.latent_channels > 2**dims:
        raise UsageError(
            f"model.latent_channels is at most {2**dims} with the dct front end, "
            f"not {cfg.latent_channels}"
        )
    model = _network(cfg, Common(channels, dims, cfg.latent_channels, latent_noise, kl_weight))
    initialise(model, seed)
    return model


def _network(cfg: ModelConfig, common: Common) -> VAE:
    # MONAI takes seconds to load: a model without a network does not wait for it.
    from medvae.model.conv import LinearPathVAE, PlainVAE, conv_trunks
    from medvae.model.transformer import TransformerVAE, token_trunks

    if cfg.kind == "conv":
        shape = CONV[cfg.preset]
        if cfg.front_end == "none":
            return PlainVAE(shape, common)
        return LinearPathVAE(conv_trunks(shape, common.dims), common)
    tokens = TRANSFORMER[cfg.preset]
    if cfg.front_end == "none":
        return TransformerVAE(tokens, common)
    return LinearPathVAE(token_trunks(tokens, common.dims), common)


def initialise(model: nn.Module, seed: int) -> None:
    """Fresh weights from a generator of their own: the same seed gives the same weights.

    He's uniform rule for weights (what torch's layers use), zero biases; what a model sets
    to zero on purpose stays zero.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.ndim >= 2 and bool(parameter.detach().any()):
            bound = 1.0 / math.sqrt(parameter[0].numel())
            fresh = torch.rand(parameter.shape, generator=generator)
            parameter.data.copy_((fresh * 2.0 - 1.0) * bound)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
