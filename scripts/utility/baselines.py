"""What others would do with the same patients, plan and seeds: honest, one setting each."""

from __future__ import annotations

import math

import numpy as np
import torch

from medvae.atlas.basis import Basis, pack, unpack
from medvae.atlas.features import channels, label_map
from medvae.config import ModelConfig
from medvae.grid import Gridded
from medvae.model import build
from medvae.privacy import DPTrainer, NoiseSource, PoissonSampler, StageRequest, make_plan
from utility.cohorts import Cohort, Memory
from utility.methods import _key, release_for

# Lowest functions kept of the image and of each shape channel; fixed on the procedural cohort.
FUNCTIONS, RANK = 60, 12


class _Codes:
    """Volumes as low-frequency coefficients [d] of standardised image and shape channels."""

    def __init__(self, cohort: Cohort) -> None:
        self.labels = cohort.data.labels
        self.basis = Basis(cohort.data.size, FUNCTIONS)
        self.size = (1 + self.labels) * len(self.basis)

    def of(self, volume: Gridded) -> np.ndarray:
        return self.basis.analyse(channels(volume, self.labels)).ravel()

    def patients(self, cohort: Cohort) -> list[np.ndarray]:
        memory = Memory(cohort.train)
        return [
            np.mean([self.of(v) for v in memory.volumes(i)], axis=0) for i in range(len(memory))
        ]

    def volume(self, code: np.ndarray) -> Gridded:
        fields = self.basis.synthesise(code.reshape(1 + self.labels, -1))
        return _as_volume(fields, self.labels)


def _as_volume(fields: np.ndarray, labels: int) -> Gridded:
    """Channels back to an image in [-1, 1] (two deviations) and labels."""
    image = np.clip(fields[0] / 2.0, -1.0, 1.0).astype(np.float32)
    return Gridded(image, label_map(fields[1:]) if labels else None)


def dct_gaussian(cohort: Cohort, epsilon: float, count: int, seed: int) -> list[Gridded]:
    """Released mean and low-rank covariance of DCT coefficients; a Gaussian drawn from them."""
    codes = _Codes(cohort)
    seen = codes.patients(cohort)
    release = release_for([("mean", 0.5), ("covariance", 0.5)], len(seen), epsilon, seed)
    mean = release("mean", seen, clip=1.2, dimension=codes.size)
    low = np.argsort(np.tile(codes.basis.frequency, 1 + codes.labels), kind="stable")
    kept = low[: RANK * (1 + codes.labels)]
    packed = [pack(np.outer(v, v)) for v in ((one - mean)[kept] for one in seen)]
    matrix = unpack(release("covariance", packed, clip=0.3, dimension=len(packed[0])))
    values, vectors = np.linalg.eigh(matrix)
    # Noise alone has eigenvalues up to here (the edge of the semicircle law; packed entries off
    # the diagonal hold sqrt(2) times theirs).
    dirt = release.sigma("covariance", 0.3) * math.sqrt(2 * len(matrix))
    factor = vectors * np.sqrt(np.maximum(values - dirt, 0.0))
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        code = mean.copy()
        code[kept] += factor @ rng.standard_normal(len(matrix))
        made.append(codes.volume(code))
    return made


def merf(cohort: Cohort, epsilon: float, count: int, seed: int) -> list[Gridded]:
    """DP-MERF (Harder et al. 2021): a generator fitted to released mean random features."""
    codes = _Codes(cohort)
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(codes.size, 1000, generator=generator) / 0.5

    def embed(z: torch.Tensor) -> torch.Tensor:
        phase = z @ waves
        return torch.cat([phase.cos(), phase.sin()], dim=-1) / math.sqrt(1000)

    seen = codes.patients(cohort)
    release = release_for([("embedding", 1.0)], len(seen), epsilon, seed)
    vectors = [embed(torch.from_numpy(v).float()).double().numpy() for v in seen]
    target = torch.from_numpy(release("embedding", vectors, clip=1.0, dimension=2000)).float()
    net = torch.nn.Sequential(
        torch.nn.Linear(16, 128), torch.nn.ReLU(), torch.nn.Linear(128, codes.size)
    )
    _draw_weights(net, generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(1500):
        made = net(torch.randn(200, 16, generator=generator))
        loss = (embed(made).mean(dim=0) - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        drawn = net(torch.randn(count, 16, generator=generator)).double().numpy()
    return [codes.volume(code) for code in drawn]


def _draw_weights(net: torch.nn.Module, generator: torch.Generator) -> None:
    for parameter in net.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)
        else:
            torch.nn.init.zeros_(parameter)


def scratch_vae(
    cohort: Cohort, epsilon: float, count: int, seed: int, steps: int = 150
) -> list[Gridded]:
    """A VAE of image and shape channels by DP-SGD from fresh weights, sampled from N(0, I).

    At epsilon infinity the same network by plain Adam: the non-private VAE.
    """
    labels = cohort.data.labels
    shape = ModelConfig(preset="tiny", front_end="none", latent_channels=4)
    model = build(shape, channels=1 + labels, dims=3, latent_noise=0.0, kl_weight=1e-3, seed=seed)
    patients = Memory(cohort.train)
    stacked = [
        torch.from_numpy(np.stack([channels(v, labels) for v in patients.volumes(i)])).float()
        for i in range(len(patients))
    ]
    generator = torch.Generator().manual_seed(seed)

    def item(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = stacked[index]
        noise = torch.randn((len(x), *model.latent_shape(tuple(x.shape[2:]))), generator=generator)
        return x, noise

    rate = 0.25
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    sampler = PoissonSampler(_key(seed), len(patients), rate, "baseline patients")
    if math.isinf(epsilon):
        _plain(model, optimizer, sampler, item, steps)
    else:
        request = StageRequest("scratch", 1.0, rate, steps)
        plan = make_plan([request], patients=len(patients), epsilon=epsilon, delta=1e-4)
        trainer = DPTrainer(
            model,
            optimizer,
            mechanism=plan.mechanism("scratch"),
            clip=1.0,
            divisor=rate * len(patients),
            noise=NoiseSource(_key(seed)),
        )
        for step in range(steps):
            trainer.step(step, [item(i) for i in sampler.batch(step)], _loss)
    with torch.no_grad():
        size = model.latent_shape(cohort.data.size)
        drawn = [
            model.decode(torch.randn((1, *size), generator=generator))[0] for _ in range(count)
        ]
    return [_as_volume(one.double().numpy(), labels) for one in drawn]


def _plain(model, optimizer, sampler, item, steps: int) -> None:  # type: ignore[no-untyped-def]
    for step in range(steps):
        losses = [_loss(model, item(i)) for i in sampler.batch(step)]
        if losses:
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()


def _loss(model: torch.nn.Module, item: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return model.loss(*item).mean()  # type: ignore[operator,no-any-return]
