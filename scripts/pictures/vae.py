"""A class-conditional VAE of small pictures, and the Gaussian of its latents in each class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvae.model.presets import initialise
from pictures.cohort import Pictures

# Public, as all of the constants here.
LATENT, WIDTH = 16, 8
# Deviation of a pixel that the decoder does not explain: sets the weight of the divergence.
PIXEL: Final = 0.12
FACTOR: Final = 4
RATE, BATCH = 2e-3, 128


class PictureVAE(nn.Module):
    """[B, C, X, Y] and one-hot classes [B, K] to latents [B, LATENT] and back.

    Two convolutions of stride 2 and a linear layer; the decoder mirrors them. No layer sees two
    pictures.
    """

    def __init__(self, channels: int, size: tuple[int, int], n_classes: int, seed: int) -> None:
        super().__init__()
        self.size = size
        self.coarse = [math.ceil(n / FACTOR) for n in size]
        cells = 2 * WIDTH * math.prod(self.coarse)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.posterior = nn.Linear(cells + n_classes, 2 * LATENT)
        self.spread = nn.Linear(LATENT + n_classes, cells)
        self.middle = nn.Conv2d(2 * WIDTH, 4 * WIDTH, 3, padding=1)
        self.last = nn.Conv2d(WIDTH, 4 * channels, 3, padding=1)
        initialise(self, seed)

    def decoder_parameters(self) -> list[nn.Parameter]:
        """What a latent becomes a picture by."""
        return [p for m in (self.spread, self.middle, self.last) for p in m.parameters()]

    def encode(self, pictures: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance, [B, LATENT] each."""
        pad = [(-n) % FACTOR for n in self.size]
        padded = F.pad(pictures, (0, pad[1], 0, pad[0]), mode="replicate")
        hidden = torch.cat([self.encoder(padded), classes], dim=1)
        mean, logvar = self.posterior(hidden).chunk(2, dim=1)
        return mean, logvar.clamp(-8.0, 8.0)

    def decode(self, latents: Tensor, classes: Tensor) -> Tensor:
        """[B, C, X, Y]."""
        hidden = self.spread(torch.cat([latents, classes], dim=1))
        hidden = F.silu(hidden).reshape(len(latents), 2 * WIDTH, *self.coarse)
        hidden = F.silu(F.pixel_shuffle(self.middle(hidden), 2))
        pictures: Tensor = F.pixel_shuffle(self.last(hidden), 2)
        return pictures[..., : self.size[0], : self.size[1]]

    def loss(self, pictures: Tensor, classes: Tensor, noise: Tensor) -> Tensor:
        """[B] negative evidence bound in nats a pixel, up to a constant."""
        mean, logvar = self.encode(pictures, classes)
        decoded = self.decode(mean + torch.exp(0.5 * logvar) * noise, classes)
        error = (decoded - pictures).square().sum(dim=(1, 2, 3)) / (2.0 * PIXEL**2)
        divergence = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(dim=1)
        return (error + divergence) / pictures[0].numel()


@dataclass(frozen=True)
class LatentGaussians:
    """Mean [K, L] and root of the covariance [K, L, L] of the latents of each class."""

    means: Tensor
    roots: Tensor

    @classmethod
    def standard(cls, n_classes: int) -> LatentGaussians:
        """The VAE's own prior."""
        return cls(torch.zeros(n_classes, LATENT), torch.eye(LATENT).repeat(n_classes, 1, 1))

    @classmethod
    def of(cls, model: PictureVAE, pictures: Pictures, seed: int) -> LatentGaussians:
        """Fitted to the latents of public pictures; at least LATENT + 1 of each class."""
        generator = torch.Generator().manual_seed(seed)
        images, classes = tensors(pictures)
        with torch.no_grad():
            mean, logvar = model.encode(images, classes)
        noise = torch.randn(mean.shape, generator=generator)
        latents = mean + torch.exp(0.5 * logvar) * noise
        means, roots = [], []
        for own in range(pictures.n_classes):
            of_class = latents[classes[:, own] == 1.0]
            means.append(of_class.mean(dim=0))
            values, vectors = torch.linalg.eigh(torch.cov(of_class.T))
            roots.append(vectors * values.clamp_min(0.0).sqrt())
        return cls(torch.stack(means), torch.stack(roots))

    def sample(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """[n, LATENT] of classes [n]."""
        normals = torch.randn(len(classes), LATENT, generator=generator)
        return self.means[classes] + torch.einsum("nij,nj->ni", self.roots[classes], normals)


def tensors(pictures: Pictures) -> tuple[Tensor, Tensor]:
    """[n, C, X, Y] pictures and [n, K] one-hot classes."""
    one_hot = torch.eye(pictures.n_classes)[torch.from_numpy(pictures.classes)]
    return torch.from_numpy(pictures.images), one_hot


def fresh(like: Pictures, seed: int) -> PictureVAE:
    """A VAE of this grid with first weights."""
    _, channels, *size = like.images.shape
    return PictureVAE(channels, (size[0], size[1]), like.n_classes, seed)


def fit(model: PictureVAE, pictures: Pictures, steps: int, seed: int) -> None:
    """Train without privacy: on public pictures, or to show what privacy costs."""
    images, classes = tensors(pictures)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        noise = torch.randn(BATCH, LATENT, generator=generator)
        optimizer.zero_grad()
        model.loss(images[chosen], classes[chosen], noise).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def sample(
    model: PictureVAE,
    latents: LatentGaussians,
    shares: np.ndarray,
    like: Pictures,
    count: int,
    seed: int,
) -> Pictures:
    """`count` pictures, classes drawn with probabilities `shares` [K]."""
    chosen = np.random.default_rng([seed, 4]).choice(len(shares), size=count, p=shares)
    classes = torch.from_numpy(chosen)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        z = latents.sample(classes, generator)
        images = model.decode(z, torch.eye(like.n_classes)[classes])
    return like.like(images.numpy(), chosen.astype(np.int64))
