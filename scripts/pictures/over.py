"""A network over the released statistics: a VAE of their draws, its decoder trained privately.

Draws of a released model are free, so that the VAE, and the Gaussian of its latents in each class,
cost nothing; half of the budget is for DP-SGD on the decoder. What is finer than a decoder draws is
filled up to the released power of each band.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from medvae.cosines.basis import Array, Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.planned import mechanisms
from medvae.privacy import StageRequest
from pictures import statistics, vae
from pictures.budget import one_shot, plan_of, statistics_of
from pictures.cohort import Pictures
from pictures.private import request, train_privately
from pictures.vae import LatentGaussians, PictureVAE

# Public, as all of the constants here.
NETWORK_SHARE: Final = 0.5
DRAWS, FREE_STEPS = 8000, 3000
STEPS, BATCH = 200, 1024
CLIP, RATE = 0.5, 1e-3


def decoder_over_statistics(
    train: Pictures, epsilon: float, count: int, seed: int, steps: int | None = None
) -> Pictures:
    """Samples of the VAE with a privately trained decoder; `steps` for each training.

    Without noise the whole VAE is trained on the patients.
    """
    requests = [
        StageRequest(name, part * (1.0 - NETWORK_SHARE), 1.0, 1)
        for name, part in mechanisms(Basis.of(train.data))
    ]
    requests.append(request(NETWORK_SHARE, len(train), steps or STEPS, BATCH))
    plan = plan_of(requests, len(train), epsilon)
    model = statistics.fitted(train, statistics_of(plan, epsilon, seed))
    network, prior = _of_draws(model, train, seed, steps)
    if math.isfinite(epsilon):
        decoder = network.decoder_parameters()
        train_privately(network, decoder, train, plan, seed, clip=CLIP, rate=RATE)
    else:
        network.requires_grad_(True)
        vae.fit(network, train, steps or FREE_STEPS, seed)
        network.requires_grad_(False)
    samples = vae.sample(network, prior, model.numbers.shares, train, count, seed)
    return filled(samples, model, seed)


def free_over_statistics(
    train: Pictures, epsilon: float, count: int, seed: int, steps: int | None = None
) -> Pictures:
    """Samples of the VAE, which saw draws alone: the whole budget is the statistics'."""
    release = one_shot(mechanisms(Basis.of(train.data)), len(train), epsilon, seed)
    model = statistics.fitted(train, release)
    network, prior = _of_draws(model, train, seed, steps)
    samples = vae.sample(network, prior, model.numbers.shares, train, count, seed)
    return filled(samples, model, seed)


def _of_draws(
    model: CosineModel, train: Pictures, seed: int, steps: int | None
) -> tuple[PictureVAE, LatentGaussians]:
    """The VAE of a model's draws, and the Gaussians of its latents in each class."""
    drawn = statistics.sampled(model, train, DRAWS, seed)
    network = vae.fresh(train, seed)
    vae.fit(network, drawn, steps or FREE_STEPS, seed)
    network.requires_grad_(False)
    return network, LatentGaussians.of(network, drawn, seed)


def filled(samples: Pictures, model: CosineModel, seed: int) -> Pictures:
    """Samples with finer detail: each band's power as released, as far as it lacks some."""
    basis, random = model.basis, np.random.default_rng([seed, 6])
    values = np.stack([model.analyse(image.reshape(-1, *basis.size)) for image in samples.images])
    lacking = _lacking(values, samples, model)
    drawn = np.empty_like(samples.images)
    for image, own, category in zip(drawn, values, samples.classes, strict=True):
        fine = model.coefficients(random, int(category)) - model.numbers.means[category]
        image[:] = model.image(own + lacking[category] * fine).reshape(image.shape)
    return samples.like(drawn, samples.classes)


def _lacking(values: Array, samples: Pictures, model: CosineModel) -> Array:
    """[K, F] what part of a statistical draw's deviation is missing around the classes' means."""
    basis, numbers = model.basis, model.numbers
    found = np.zeros((len(numbers.shares), len(basis)))
    for category in range(len(found)):
        own = values[samples.classes == category]
        variance = numbers.spread(basis) ** 2
        variance[numbers.kept] = np.diag(numbers.covariance[category])
        if len(own) > 1:
            here = basis.by_band(own.var(axis=0))
            wanted = basis.by_band(variance)
            found[category] = np.sqrt(np.maximum(1.0 - here / wanted, 0.0))[basis.band]
        else:
            found[category] = 1.0
    return found
