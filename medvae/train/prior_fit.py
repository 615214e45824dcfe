"""Fit the latent prior with one to three Gaussian mechanisms on clipped per-patient vectors.

The vectors hold coordinates of latents along fixed public directions, relative to a released or
public reference:
  mean        the first d coordinates, averaged over the patient's volumes;
  covariance  the outer product of the first r less the released mean, likewise averaged, as a
              vector in the isometric basis of symmetric matrices;
  shells      the root mean square of all coordinates less the mean, by group of frequency; only
              if the residual prior samples at this scale.
`gaussian_release` clips each vector to a public constant C (sensitivity C / N). The rest
(shrinkage, projection to positive matrices) is post-processing (Dwork and Roth 2014, proposition
2.1). d, r, C and the weights depend on N, the noise multiplier and procedural volumes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medvae.config import PriorConfig, RunConfig
from medvae.model.prior import SHELLS, LatentPrior, mean_size, shells
from medvae.privacy import Mechanism, NoiseSource, gaussian_release
from medvae.progress import Progress

MEAN, COVARIANCE, SHELL = "prior.mean", "prior.covariance", "prior.shells"
NAMES = (MEAN, COVARIANCE, SHELL)
# Shares of the prior's budget. Every sample uses the mean; the shells need little.
SPLIT = {MEAN: 0.5, COVARIANCE: 0.35, SHELL: 0.15}
# With an atlas as the residual prior, the scale of the residual is not needed.
SPLIT_ON_ATLAS = {MEAN: 0.55, COVARIANCE: 0.45}

# Public: how much the ratio of a shell to its expectation of 1 is expected to differ from it.
RATIO_STD = 1.0
LEAST_RATIO = 0.02

Array = npt.NDArray[np.float64]
# A patient's coordinates [volumes, D] by the patient's index.
Coordinates = Callable[[int], Tensor]


def split(cfg: RunConfig) -> dict[str, float]:
    """Mechanisms of the prior, in order, and their shares of its budget; public."""
    parts = SPLIT_ON_ATLAS if cfg.residual_prior == "atlas" else SPLIT
    planned = {name: part for name, part in parts.items() if name != COVARIANCE or cfg.prior.rank}
    total = sum(planned.values())
    return {name: part / total for name, part in planned.items()}


@dataclass(frozen=True)
class PublicScale:
    """Public expectation of each coordinate.

    Attributes:
        std: [D] expected standard deviations, smooth in frequency, positive.
        reference: [D] origin of the coordinates.
        structure: [D] standard deviations of procedural volumes themselves.
    """

    std: Array
    reference: Array
    structure: Array


def banded(coordinates: Tensor) -> Array:
    """[D] root mean square of coordinates [n, D], averaged over bands of frequency; positive."""
    power = coordinates.double().square().mean(dim=0).numpy()
    edges = np.unique(np.geomspace(1, len(power), 40).astype(int))
    for low, high in zip([0, *edges[:-1]], edges, strict=True):
        power[low:high] = power[low:high].mean()
    return np.asarray(np.sqrt(power + 1e-6))


def fit_prior(
    coordinates: Coordinates,
    patients: int,
    shape: tuple[int, ...],
    public: PublicScale,
    cfg: PriorConfig,
    mechanisms: dict[str, Mechanism],
    noise: NoiseSource,
    progress: Progress,
) -> LatentPrior:
    """Measure mean, covariance and shells, and combine them into a prior.

    Formal guarantee: the result is a function of the outputs of the mechanisms and of public
    constants.
    """

    def noisy_mean(name: str, vectors: Iterator[Array], clip: float, dimension: int) -> Array:
        progress.advance(list(mechanisms).index(name), name)
        return gaussian_release(
            vectors,
            clip=clip,
            mechanism=mechanisms[name],
            divisor=float(patients),
            noise=noise,
            dimension=dimension,
        )

    def cohort() -> Iterator[Array]:
        for index in range(patients):
            yield coordinates(index).double().numpy() - public.reference

    progress.start("latent prior", len(mechanisms))
    sigma = {name: mechanism.noise_multiplier / patients for name, mechanism in mechanisms.items()}
    mean = _mean(cohort, noisy_mean, public, cfg, sigma[MEAN])
    factor = np.zeros((0, 0))
    if COVARIANCE in mechanisms:
        factor = _covariance(cohort, noisy_mean, mean, public, cfg, sigma[COVARIANCE])
    std = np.zeros(len(mean))
    if SHELL in mechanisms:
        std = _shells(cohort, noisy_mean, mean, public, cfg, sigma[SHELL])
    progress.finish()
    return LatentPrior(
        shape,
        torch.from_numpy(mean + public.reference).float(),
        torch.from_numpy(factor).float(),
        torch.from_numpy(std * cfg.temperature).float(),
        torch.from_numpy(public.structure).float(),
    )


Cohort = Callable[[], Iterator[Array]]
NoisyMean = Callable[[str, Iterator[Array], float, int], Array]


def _mean(
    cohort: Cohort, noisy_mean: NoisyMean, public: PublicScale, cfg: PriorConfig, sigma: float
) -> Array:
    """[D] the mean, 0 beyond the measured coordinates."""
    # Over the square root of the expected std: these weights minimise the summed squared error
    # (see `frontend`).
    weight = public.std**-0.5
    d, clip = mean_size(public.std, cfg.clip, sigma)
    noisy = noisy_mean(MEAN, (np.mean(c[:, :d] * weight[:d], axis=0) for c in cohort()), clip, d)
    noise_var = (sigma * clip / weight[:d]) ** 2
    mean = np.zeros(len(public.std))
    mean[:d] = _shrink(noisy / weight[:d], noise_var, public.std[:d] ** 2)
    return mean


def _shrink(values: Array, noise_var: Array, prior_var: Array) -> Array:
    """Wiener shrinkage by band: the fraction of its power that noise does not explain.

    A band of few coordinates can have a large power by chance, so the fraction is at most that of
    the public expectation of the power.
    """
    shrunk = values.copy()
    start = 0
    while start < len(values):
        stop = min(len(values), max(start + 4, int(start * 1.4)))
        power = float(np.mean(values[start:stop] ** 2))
        noise = float(np.mean(noise_var[start:stop]))
        largest = prior_var[start:stop] / (prior_var[start:stop] + noise_var[start:stop])
        shrunk[start:stop] *= np.clip(1.0 - noise / max(power, 1e-12), 0.0, largest)
        start = stop
    return shrunk


def _covariance(
    cohort: Cohort,
    noisy_mean: NoisyMean,
    mean: Array,
    public: PublicScale,
    cfg: PriorConfig,
    sigma: float,
) -> Array:
    """[r, r] factor of the covariance of the first r coordinates."""
    r = _rank(cfg.rank, len(mean), sigma)
    if r == 0:
        return np.zeros((0, 0))
    clip = cfg.clip * float(np.sqrt(r))
    upper = np.triu_indices(r)
    fold = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
    unit = public.std[:r]

    def vectors() -> Iterator[Array]:
        for c in cohort():
            y = (c[:, :r] - mean[:r]) / unit
            # Clipped before the square, so the square's norm is at most clip ** 2.
            y = y * np.minimum(1.0, clip / np.maximum(np.linalg.norm(y, axis=1), 1e-12))[:, None]
            yield (y.T @ y / max(len(y), 1))[upper] * fold

    noisy = noisy_mean(COVARIANCE, vectors(), clip**2, len(fold)) / fold
    matrix = np.zeros((r, r))
    matrix[upper] = noisy
    matrix = matrix + matrix.T - np.diag(np.diag(matrix))
    return unit[:, None] * _factor(matrix, (sigma * clip**2) ** 2)


def _rank(configured: int, dimension: int, sigma: float) -> int:
    """Largest rank at which the noise matrix (norm about 2 sigma C^2 sqrt(r)) is below 1/2."""
    affordable = int((1.0 / (4.0 * max(sigma, 1e-12))) ** (2.0 / 3.0))
    return min(configured, dimension, affordable)


def _factor(matrix: Array, noise_var: float) -> Array:
    """A factor of the noisy covariance, shrunk to its diagonal and projected to be positive."""
    r = len(matrix)
    # Smaller entries are noise around a coordinate that hardly varies.
    diagonal = np.maximum(np.diag(matrix), 0.02)
    off = matrix - np.diag(np.diag(matrix))
    count = max(1, r * (r - 1))
    power = float((off**2).sum()) / count
    shrinkage = max(0.0, 1.0 - 0.5 * noise_var / max(power, 1e-12)) if r > 1 else 0.0
    values, vectors = np.linalg.eigh(np.diag(diagonal) + shrinkage * off)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _shells(
    cohort: Cohort,
    noisy_mean: NoisyMean,
    mean: Array,
    public: PublicScale,
    cfg: PriorConfig,
    sigma: float,
) -> Array:
    """[D] std of coordinates: the public ones, scaled by the ratio of each shell.

    The ratio is the posterior mean, for in a cohort of a few patients noise alone would make it a
    hundred, and every volume black and white.
    """
    group = shells(len(mean)).numpy()
    count = np.maximum(np.bincount(group, minlength=SHELLS), 1)
    clip = cfg.clip * float(np.sqrt(SHELLS))

    def vectors() -> Iterator[Array]:
        for c in cohort():
            square = np.mean(((c - mean) / public.std) ** 2, axis=0)
            yield np.sqrt(np.bincount(group, weights=square, minlength=SHELLS) / count)

    noisy = noisy_mean(SHELL, vectors(), clip, SHELLS)
    known = RATIO_STD**2 / (RATIO_STD**2 + (sigma * clip) ** 2)
    ratio = 1.0 + known * (noisy - 1.0)
    return np.asarray(public.std * np.maximum(ratio, LEAST_RATIO)[group])
