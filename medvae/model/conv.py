"""Convolutional models: MONAI's AutoencoderKL, and its blocks around an exact linear path.

`LinearPathVAE` codes a volume by `frontend.analyse` and lets two small networks of
AutoencoderKL's residual blocks, on the half-resolution grid, correct the code and the
reconstruction. Both networks start at zero, so training starts from the linear code. Their inputs
have mean 0 and std 1 and their outputs are scaled back, so the model is exactly equivariant to
brightness and contrast.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.nets.autoencoderkl import AEKLResBlock, AutoencoderKL
from torch import Tensor, nn

from medvae.model import frontend
from medvae.model.base import FLAT, RESIDUAL, VAE, Common, Shape, Trunk

GROUPS = 8
EPS = 1e-6


def conv_trunks(shape: Shape, dims: int) -> tuple[Trunk, Trunk]:
    """Residual blocks of AutoencoderKL, before and after the latent."""
    before, after = (partial(_Trunk, dims, shape.width, n) for n in shape.blocks)
    return before, after


def _conv(dims: int, inputs: int, outputs: int) -> nn.Module:
    conv: nn.Module = Convolution(
        dims, inputs, outputs, strides=1, kernel_size=3, padding=1, conv_only=True
    )
    return conv


class _Trunk(nn.Module):
    """Convolution, residual blocks, normalisation, convolution; the last one starts at 0."""

    def __init__(self, dims: int, width: int, blocks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv(dims, inputs, width)
        self.blocks = nn.ModuleList(
            AEKLResBlock(dims, width, GROUPS, EPS, width) for _ in range(blocks)
        )
        self.norm = nn.GroupNorm(GROUPS, width, eps=EPS)
        self.last = _conv(dims, width, outputs)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        result: Tensor = self.last(F.silu(self.norm(h)))
        return RESIDUAL * result.float()


class LinearPathVAE(VAE):
    """The linear code of `frontend`, corrected by networks on the half-resolution grid.

    `trunks` make the networks before and after the latent.

    The latent is the half-resolution image folded to channels: 2**d for each channel of the volume,
    all with the same std, which `latent_scale`, a public constant, brings to about 1. Fewer
    `latent_channels` keep that many fixed mixtures of neighbours, lowest frequency first;
    `latent_channels = 8` is an eighth of the numbers of a 3-D volume.
    """

    latent_scale: Tensor
    mixture: Tensor

    def __init__(self, trunks: tuple[Trunk, Trunk], common: Common) -> None:
        super().__init__(common)
        folds, channels = 2**common.dims, common.channels
        self.register_buffer("latent_scale", torch.tensor(0.5))
        self.register_buffer("mixture", _mixture(common.dims, common.latent_channels))
        before, after = trunks
        self.encoder = before(2 * folds * channels, 2 * channels)
        self.decoder = after((folds + 1) * channels, folds * channels)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = frontend.analyse(x)
        linear = frontend.synthesise(half)
        mean, std = _moments(linear)
        inputs = torch.cat([(x - mean) / std, (x - linear) / std], dim=1)
        change, logits = self.encoder(frontend.fold(inputs)).chunk(2, dim=1)
        z = self._fold((half + change * std) / self.latent_scale)
        return z, self._fold_power(self.log_variance(logits))

    def decode(self, z: Tensor) -> Tensor:
        half = self._unfold(z.float()) * self.latent_scale
        linear = frontend.synthesise(half)
        mean, std = _moments(linear)
        inputs = frontend.fold((linear - mean) / std)
        change = self.decoder(torch.cat([inputs, half / std], dim=1))
        return linear + frontend.unfold(change) * std

    def spatial_latent(self, z: Tensor) -> Tensor:
        if self.mixture.shape[0] < self.mixture.shape[1]:
            return z
        return self._unfold(z)

    def from_spatial_latent(self, image: Tensor) -> Tensor:
        if self.mixture.shape[0] < self.mixture.shape[1]:
            return image
        return self._fold(image)

    def _fold(self, half: Tensor) -> Tensor:
        return self._mix(frontend.fold(half), self.mixture)

    def _unfold(self, z: Tensor) -> Tensor:
        return frontend.unfold(self._mix(z, self.mixture.T))

    def _fold_power(self, logvar: Tensor) -> Tensor:
        """Log variance of a latent: the mean over its neighbours, which have the same scale."""
        folded = frontend.fold(logvar)
        parts = folded.reshape(folded.shape[0], self.channels, -1, *folded.shape[2:])
        parts = parts.mean(2, keepdim=True)
        return parts.expand(-1, -1, self.mixture.shape[0], *parts.shape[3:]).flatten(1, 2)

    def _mix(self, x: Tensor, matrix: Tensor) -> Tensor:
        parts = x.reshape(x.shape[0], self.channels, matrix.shape[1], *x.shape[2:])
        mixed: Tensor = torch.einsum("ij,bcj...->bci...", matrix, parts).flatten(1, 2)
        return mixed


def _moments(linear: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std of each sample's linear part, [B, 1, ...]; the std >= FLAT."""
    axes = tuple(range(1, linear.ndim))
    mean = linear.mean(dim=axes, keepdim=True)
    variance = linear.var(dim=axes, keepdim=True, correction=0)
    return mean, (variance + FLAT**2).sqrt()


def _mixture(dims: int, keep: int) -> Tensor:
    """[keep, 2**dims] with orthonormal rows: the kept mixtures of 2**dims neighbours.

    The identity if all are kept. Otherwise the Haar functions of lowest order, rotated by a cosine
    transform so that all rows have similar variance.
    """
    folds = 2**dims
    if keep > folds:
        raise ValueError(f"latent_channels is at most {folds} in {dims}-D, not {keep}")
    if keep == folds:
        return torch.eye(folds)
    haar = torch.ones(1, 1)
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) * 0.5**0.5
    order = torch.zeros(1)
    for _ in range(dims):
        haar = torch.kron(haar, pair)
        order = (order[:, None] + torch.tensor([0.0, 1.0])).flatten()
    lowest = haar[torch.argsort(order, stable=True)[:keep]]
    return frontend.cosine_basis(keep).T @ lowest


class PlainVAE(VAE):
    """MONAI's AutoencoderKL as it is: the baseline without a linear path."""

    def __init__(self, shape: Shape, common: Common) -> None:
        super().__init__(common)
        self.network = AutoencoderKL(
            spatial_dims=common.dims,
            in_channels=common.channels,
            out_channels=common.channels,
            channels=(shape.width, 2 * shape.width, 2 * shape.width),
            num_res_blocks=(1, 1, max(1, shape.encoder_blocks)),
            attention_levels=(False, False, False),
            latent_channels=self.latent_channels,
            norm_num_groups=GROUPS,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self.network.encode(x)
        floor = max(self.latent_noise, 1e-3) ** 2
        return mean.float(), (std.float().square() + floor).log()

    def decode(self, z: Tensor) -> Tensor:
        restored: Tensor = self.network.decode(z)
        return restored.float()
