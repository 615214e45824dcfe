"""DP-MERF: a generator fitted to released random features (Harder et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from medvae.atlas.basis import Array
from medvae.atlas.shrinkage import SHARED_POWER, power_law
from medvae.atlas.spectrum import frequencies
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE, REACH
from medvae.grid import Gridded
from utility.codes import Codes
from utility.cohorts import Cohort
from utility.layout import NEARER_RMS, SHAPE_CORNER, SHAPE_SLOPE, UNION_MEAN, UNION_RMS, Layout
from utility.methods import release_for

Embedding = Callable[[torch.Tensor], torch.Tensor]

# Public, as all of the constants here; chosen on the procedural cohort.
IMAGE_PART = 0.5
# Vectors have norm about 1, and two individuals differ by 2 (1 - SHARED_POWER) in squares: the
# usual width is the median distance: here of the public spectrum, not of patients, and a little
# more.
WIDTH = 1.4 * math.sqrt(2.0 * (1.0 - SHARED_POWER))
# Noise on features that the number of functions is chosen for, at least (chance is one too).
FLOOR = 0.006
FEATURES = 1000
LATENT, HIDDEN = 16, 128
STEPS, BATCH, RATE = 1000, 100, 3e-3


def merf(cohort: Cohort, epsilon: float, count: int, seed: int) -> list[Gridded]:
    """Draws of a generator whose mean embedding is the released one."""
    codes = Codes(cohort)
    patients = len(codes.patients)
    release = release_for([("embedding", 1.0)], patients, epsilon, seed)
    noise = release.sigma("embedding", 1.0)
    # What noise on features is on the vector: they turn by a radian in a width.
    floor = max(noise, FLOOR) * WIDTH
    layout = Layout.plan(codes.grid, codes.labels, floor, REACH, IMAGE_PART)
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(layout.dimension, FEATURES, generator=generator) / WIDTH

    def embed(vectors: torch.Tensor) -> torch.Tensor:
        phase = vectors @ waves
        return torch.cat([phase.cos(), phase.sin()], dim=-1) / math.sqrt(FEATURES)

    def encode(fields: Array) -> Array:
        return embed(torch.from_numpy(layout.encode(fields)).float()).double().numpy()

    seen = codes.each(encode)
    target = release("embedding", seen, clip=1.0, dimension=2 * FEATURES)
    # So few patients leave chance in the embedding too: it has norm 1.
    doubt = noise**2 + 1.0 / (patients * 2 * FEATURES)
    net = _fitted(embed, torch.from_numpy(target).float(), *expected(layout), doubt, generator)
    with torch.no_grad():
        vectors = net(torch.randn(count, LATENT, generator=generator)).double().numpy()
    rng = np.random.default_rng(seed)
    return [codes.volume(_finished(codes, layout, vector, rng)) for vector in vectors]


def expected(layout: Layout) -> tuple[Array, Array]:
    """[dimension] public mean and deviation of each number of an individual's vector."""
    image = power_law(layout.image.frequency, IMAGE_CORNER, IMAGE_SLOPE)
    shape = power_law(layout.shape.frequency, SHAPE_CORNER, SHAPE_SLOPE)
    rms = np.array([UNION_RMS] + [NEARER_RMS] * (len(layout.shape_weights) - 1))
    shapes = rms[: len(layout.shape_weights), None] * np.sqrt(shape) * layout.shape_weights
    deviation = np.concatenate([np.sqrt(image) * layout.image_weights, shapes.ravel()])
    mean = np.zeros(len(deviation))
    if len(shapes):
        mean[len(image)] = UNION_MEAN * layout.shape_weights[0, 0]
    return mean, deviation


class Generator(torch.nn.Module):
    """Latents [n, LATENT] to vectors [n, dimension]; what it starts from is near 0."""

    def __init__(self, start: Array, deviation: Array, generator: torch.Generator) -> None:
        super().__init__()
        self.deviation = torch.from_numpy(deviation).float()
        # Only the mean of the union is far from 0 and alike in all: it is not what differs.
        self.start = torch.from_numpy(start).float()
        self.mean = torch.nn.Parameter(torch.zeros(len(deviation)))
        self.first = torch.nn.Linear(LATENT, HIDDEN)
        self.last = torch.nn.Linear(HIDDEN, len(deviation), bias=False)
        for layer in (self.first, self.last):
            torch.nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        torch.nn.init.zeros_(self.first.bias)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Whitened numbers, each in its public deviation."""
        differ = self.last(torch.relu(self.first(z)))
        return self.start + self.deviation * (self.mean + differ)


def _fitted(
    embed: Embedding,
    target: torch.Tensor,
    start: Array,
    deviation: Array,
    doubt: float,
    generator: torch.Generator,
) -> Generator:
    """The network whose embedding is nearest to the target, given its noise variance `doubt`.

    The mean of what it makes has a public prior: without one, directions that the noise
    drowns would follow the noise.
    """
    net = Generator(start, deviation, generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        made = net(torch.randn(BATCH, LATENT, generator=generator))
        error = (embed(made).mean(dim=0) - target).square().sum()
        unlikely = ((made.mean(dim=0) - net.start) / net.deviation).square().sum() / SHARED_POWER
        optimizer.zero_grad()
        (error + doubt * unlikely).backward()
        optimizer.step()
        schedule.step()
    return net


def _finished(codes: Codes, layout: Layout, vector: Array, rng: np.random.Generator) -> Array:
    """[1 + L, X, Y, Z] channels: the vector's, and beyond its functions the public spectrum."""
    fields = codes.analyse(layout.decode(vector, 0.0))
    waves = frequencies(codes.grid)
    limits = [layout.image.frequency[-1]] + [layout.shape.frequency[-1]] * codes.labels
    beyond = np.stack([waves > limit for limit in limits])
    drawn = rng.standard_normal(fields.shape) * codes.deviation * math.sqrt(1.0 - SHARED_POWER)
    return codes.synthesise(fields + beyond * drawn)
