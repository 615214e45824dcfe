"""DP-MERF: a generator of each class fitted to random features (Harder et al. 2021)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from medvae.cosines.basis import Basis
from medvae.model.presets import initialise
from pictures.budget import one_shot
from pictures.cohort import Pictures

# Public, as all of the constants here.
FEATURES: Final = 1000
LATENT, HIDDEN = 16, 256
STEPS, BATCH, RATE = 1000, 200, 2e-3
LEAST_SHARE: Final = 0.01


def merf(train: Pictures, epsilon: float, count: int, seed: int, steps: int = STEPS) -> Pictures:
    """Samples of a network whose mean features, by class, are the measured ones."""
    size = int(np.prod(train.images.shape[1:]))
    generator = torch.Generator().manual_seed(seed)
    # The median distance of two pictures, by the public law: the usual width.
    width = math.sqrt(2.0 * float(Basis.of(train.data).law.sum()) * size)
    waves = torch.randn(size, FEATURES, generator=generator) / width

    def embed(pictures: Tensor, classes: Tensor) -> Tensor:
        phase = pictures.flatten(1) @ waves
        values = torch.cat([phase.cos(), phase.sin()], dim=1) / math.sqrt(FEATURES)
        return (classes[:, :, None] * values[:, None, :]).flatten(1)

    one_hot = torch.eye(train.n_classes)
    images, classes = torch.from_numpy(train.images), one_hot[torch.from_numpy(train.classes)]
    dimension = 2 * FEATURES * train.n_classes
    release = one_shot([("features", 0.9), ("shares", 0.1)], len(train), epsilon, seed)
    vectors = (embed(x[None], c[None])[0].double().numpy() for x, c in zip(images, classes))  # noqa: B905
    target = torch.from_numpy(release("features", vectors, clip=1.0, dimension=dimension)).float()
    noisy = release("shares", classes.double().numpy(), clip=1.0, dimension=train.n_classes)
    shares = np.maximum(noisy, LEAST_SHARE) / np.maximum(noisy, LEAST_SHARE).sum()

    net = Generator(train.n_classes, size, seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    weight = torch.from_numpy(shares).float() * train.n_classes
    own = one_hot[torch.arange(BATCH) % train.n_classes]
    for _ in range(steps):
        sample = net(torch.randn(BATCH, LATENT, generator=generator), own)
        mean = embed(sample, own * weight).mean(dim=0)
        optimizer.zero_grad()
        (mean - target).square().sum().backward()
        optimizer.step()
        schedule.step()

    chosen = np.random.default_rng([seed, 3]).choice(len(shares), size=count, p=shares)
    with torch.no_grad():
        values = net(torch.randn(count, LATENT, generator=generator), one_hot[chosen])
    return train.like(values.numpy().reshape(count, *train.images.shape[1:]), chosen)


class Generator(nn.Module):
    """Latents [n, LATENT] and one-hot classes [n, K] to pictures [n, size] in [-1, 1]."""

    def __init__(self, n_classes: int, size: int, seed: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT + n_classes, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, size),
            nn.Tanh(),
        )
        initialise(self, seed)

    def forward(self, latents: Tensor, classes: Tensor) -> Tensor:
        pictures: Tensor = self.layers(torch.cat([latents, classes], dim=1))
        return pictures
