"""A VAE of image and shape channels from fresh weights: by DP-SGD, or without privacy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvae.grid import Gridded
from medvae.model.presets import initialise
from medvae.privacy import DPTrainer, NoiseSource, Plan, PoissonSampler, StageRequest, make_plan
from utility.codes import Codes
from utility.cohorts import Cohort
from utility.layout import NEARER_RMS, UNION_MEAN, UNION_RMS
from utility.methods import DELTA, _key

# Public, as all of the constants here; chosen on the procedural cohort.
STEPS, SAMPLE_RATE, CLIP, RATE, EMA = 150, 0.25, 1.0, 3e-3, 0.9
# Without noise there is no reason to stop so early.
FREE_STEPS = 600
LATENT, WIDTH, KL_WEIGHT = 16, 8, 1e-3
# The network works at half the resolution, for it learns no finer detail from so few patients;
# its coarsest grid is a quarter of that.
HALF, COARSE = 2, 4

Item = tuple[Tensor, Tensor]


class ScratchVAE(nn.Module):
    """Channels [B, C, X, Y, Z] / HALF to one vector of latents [B, LATENT] and back.

    One vector for the whole volume, so that a draw of N(0, I) can be a volume at all, and a
    linear layer onto the coarsest grid, so that every place can have an expectation of its
    own. It is small: a DP-SGD step's noise grows with the parameters. Group norms only: no
    patient sees another.
    """

    start: Tensor

    def __init__(self, start: Tensor, size: tuple[int, int, int], seed: int) -> None:
        super().__init__()
        channels = len(start)
        self.register_buffer("start", start.reshape(-1, 1, 1, 1))
        self.coarse = [n // (HALF * COARSE) for n in size]
        cells = WIDTH * math.prod(self.coarse)
        self.encoder = nn.Sequential(
            nn.Conv3d(channels, WIDTH, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv3d(WIDTH, WIDTH, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(cells, 2 * LATENT),
        )
        self.spread = nn.Linear(LATENT, cells)
        self.middle = nn.Conv3d(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.GroupNorm(2, WIDTH)
        self.last = nn.Conv3d(WIDTH, channels, 3, padding=1)
        initialise(self, seed)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance, [B, LATENT] each."""
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        """[B, C, X, Y, Z] / HALF; the union of the labels starts at its public mean."""
        h = self.spread(z).reshape(len(z), WIDTH, *self.coarse)
        h = _finer(F.silu(h))
        h = _finer(F.silu(self.norm(self.middle(h))))
        made: Tensor = self.last(h) + self.start
        return made

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        """[B] squared error, plus the weighted divergence."""
        mean, logvar = self.encode(x)
        made = self.decode(mean + torch.exp(0.5 * logvar) * noise)
        divergence = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(dim=1)
        return (made - x).square().mean(dim=(1, 2, 3, 4)) + KL_WEIGHT * divergence


def _finer(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def scratch_vae(
    cohort: Cohort, epsilon: float, count: int, seed: int, steps: int | None = None
) -> list[Gridded]:
    """Draws of N(0, I) through the decoder; at epsilon infinity the same net by plain Adam."""
    steps = steps or (FREE_STEPS if math.isinf(epsilon) else STEPS)
    codes = Codes(cohort)
    # Over their public root mean squares, channels weigh alike.
    rms = torch.tensor([1.0, UNION_RMS] + [NEARER_RMS] * codes.labels)[: 1 + codes.labels]
    start = torch.tensor([0.0, UNION_MEAN / UNION_RMS] + [0.0] * codes.labels)[: len(rms)]
    scale = rms.reshape(-1, 1, 1, 1)

    def seen(index: int) -> Tensor:
        fields = np.stack([codes.of(v) for v in codes.patients.volumes(index)])
        return F.avg_pool3d(torch.from_numpy(fields).float() / scale, HALF)

    patients = [seen(i) for i in range(len(codes.patients))]
    model = ScratchVAE(start, codes.grid, seed)
    generator = torch.Generator().manual_seed(seed)

    def item(index: int) -> Item:
        x = patients[index]
        return x, torch.randn((len(x), LATENT), generator=generator)

    sampler = PoissonSampler(_key(seed), len(patients), SAMPLE_RATE, "baseline patients")
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    if math.isinf(epsilon):
        _plain(model, optimizer, sampler, item, steps)
    else:
        request = StageRequest("scratch", 1.0, SAMPLE_RATE, steps)
        plan = make_plan([request], patients=len(patients), epsilon=epsilon, delta=DELTA)
        _private(model, optimizer, sampler, item, plan, seed)
    with torch.no_grad():
        drawn = model.decode(torch.randn((count, LATENT), generator=generator))
        fields = (_finer(drawn) * scale).double().numpy()
    return [codes.volume(one) for one in fields]


def _private(
    model: ScratchVAE,
    optimizer: torch.optim.Optimizer,
    sampler: PoissonSampler,
    item: Callable[[int], Item],
    plan: Plan,
    seed: int,
) -> None:
    mechanism = plan.mechanism("scratch")
    trainer = DPTrainer(
        model,
        optimizer,
        mechanism=mechanism,
        clip=CLIP,
        divisor=SAMPLE_RATE * plan.patients,
        noise=NoiseSource(_key(seed)),
        ema=EMA,
    )
    for step in range(mechanism.steps):
        trainer.step(step, [item(i) for i in sampler.batch(step)], _loss)
    model.load_state_dict(trainer.weights(), strict=False)


def _plain(
    model: ScratchVAE,
    optimizer: torch.optim.Optimizer,
    sampler: PoissonSampler,
    item: Callable[[int], Item],
    steps: int,
) -> None:
    """The same steps without clip or noise; a batch goes through at once."""
    for step in range(steps):
        items = [item(i) for i in sampler.batch(step)]
        if items:
            x, noise = (torch.cat(parts) for parts in zip(*items, strict=True))
            weights = torch.cat([torch.full((len(one),), 1.0 / len(one)) for one, _ in items])
            optimizer.zero_grad()
            (weights @ model.loss(x, noise) / len(items)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _loss(model: nn.Module, item: Item) -> Tensor:
    return model.loss(*item).mean()  # type: ignore[operator,no-any-return]
