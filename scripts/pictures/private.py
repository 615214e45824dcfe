"""DP-SGD of the product's engine on a VAE of pictures: one clipped gradient a patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from medvae.privacy import (
    DPTrainer,
    NoiseSource,
    Plan,
    PoissonSampler,
    StageRequest,
)
from pictures import vae
from pictures.budget import key_of, plan_of, statistics_of
from pictures.cohort import Pictures
from pictures.vae import LATENT, LatentGaussians, PictureVAE

DPSGD: Final = "dpsgd"
# Public, as all of the constants here. Batches are of so many patients on average.
STEPS, BATCH = 250, 512
CLIP, RATE, EMA = 0.5, 2e-3, 0.95
# Patients in one vectorised pass.
CHUNK: Final = 64
# Without noise there is no reason to stop so early.
FREE_STEPS: Final = 3000
CLASS_SHARE: Final = 0.02
LEAST_SHARE: Final = 0.01

Item = tuple[Tensor, Tensor, Tensor]


def request(share: float, patients: int, steps: int, batch: int) -> StageRequest:
    """DP-SGD's part of a plan."""
    return StageRequest(DPSGD, share, min(1.0, batch / patients), steps)


def train_privately(
    model: PictureVAE,
    parameters: Sequence[nn.Parameter],
    train: Pictures,
    plan: Plan,
    seed: int,
    *,
    clip: float = CLIP,
    rate: float = RATE,
) -> None:
    """Train `parameters` by the plan's DP-SGD; the model then has their moving average."""
    chosen = {id(one) for one in parameters}
    for one in model.parameters():
        one.requires_grad_(id(one) in chosen)
    mechanism = plan.mechanism(DPSGD)
    images, classes = vae.tensors(train)
    generator = torch.Generator().manual_seed(seed)
    trainer = DPTrainer(
        model,
        torch.optim.Adam(parameters, lr=rate),
        mechanism=mechanism,
        clip=clip,
        divisor=max(1.0, mechanism.sample_rate * len(train)),
        noise=NoiseSource(key_of(seed)),
        chunk=CHUNK,
        ema=EMA,
    )
    sampler = PoissonSampler(key_of(seed), len(train), mechanism.sample_rate, f"{DPSGD} patients")
    for step in range(mechanism.steps):
        batch = trainer.mine(sampler.batch(step))
        noise = torch.randn(len(batch), LATENT, generator=generator)
        items: list[Item] = [
            (images[i], classes[i], own) for i, own in zip(batch, noise, strict=True)
        ]
        trainer.step(step, items, _loss)
    model.load_state_dict(trainer.weights(), strict=False)
    model.requires_grad_(False)


def _loss(model: nn.Module, item: Item) -> Tensor:
    loss: Tensor = model.loss(*(part[None] for part in item)).mean()  # type: ignore[operator]
    return loss


def scratch(
    train: Pictures, epsilon: float, count: int, seed: int, steps: int | None = None
) -> Pictures:
    """Samples of a VAE with fresh weights: DP-SGD on all of them, its own prior."""
    model = vae.fresh(train, seed)
    requests = [
        request(1.0 - CLASS_SHARE, len(train), steps or STEPS, BATCH),
        StageRequest("shares", CLASS_SHARE, 1.0, 1),
    ]
    plan = plan_of(requests, len(train), epsilon)
    if math.isinf(epsilon):
        vae.fit(model, train, steps or FREE_STEPS, seed)
    else:
        train_privately(model, list(model.parameters()), train, plan, seed)
    classes = np.eye(train.n_classes)[train.classes]
    release = statistics_of(plan, epsilon, seed)
    noisy = release("shares", classes, clip=1.0, dimension=train.n_classes)
    shares = np.maximum(noisy, LEAST_SHARE) / np.maximum(noisy, LEAST_SHARE).sum()
    prior = LatentGaussians.standard(train.n_classes)
    return vae.sample(model, prior, shares, train, count, seed)
