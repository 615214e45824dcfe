"""Fit the latent prior from one to three Gaussian releases of clipped per-patient vectors.

For each patient, the coordinates of the latents of all volumes along fixed public
directions, as differences from a released or public reference:
  mean        the first d coordinates, averaged over the patient's volumes;
  covariance  the outer product of the first r, less the released mean, likewise averaged,
              as a vector in the isometric basis of symmetric matrices;
  shells      the root mean square of all coordinates, less the mean, in groups of
              growing frequency; only where something must be drawn at that strength.
Each vector is clipped to a public constant C by `gaussian_release` (sensitivity C / N).
All that follows a release (shrinkage, projection to positive matrices) is post-processing
(Dwork and Roth 2014, proposition 2.1). d, r, C and the weights depend on N, the noise
multiplier and procedural volumes alone.
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
# Parts of the prior's budget. A mean serves every sample, the shells need little.
SPLIT = {MEAN: 0.5, COVARIANCE: 0.35, SHELL: 0.15}
# Where the atlas's draws fill the rest, nothing is to be known of its strength.
SPLIT_ON_ATLAS = {MEAN: 0.55, COVARIANCE: 0.45}

Array = npt.NDArray[np.float64]
# A patient's coordinates [volumes, D] by the patient's index.
Coordinates = Callable[[int], Tensor]


def split(cfg: RunConfig) -> dict[str, float]:
    """Mechanisms of the prior, in order, and their parts of its budget; public."""
    parts = SPLIT_ON_ATLAS if cfg.filling == "atlas" else SPLIT
    found = {name: part for name, part in parts.items() if name != COVARIANCE or cfg.prior.rank}
    total = sum(found.values())
    return {name: part / total for name, part in found.items()}


@dataclass(frozen=True)
class PublicScale:
    """What procedural volumes say to expect of each coordinate.

    Attributes:
        deviation: [D] expected deviations, smooth in frequency, positive.
        reference: [D] where coordinates are counted from.
        structure: [D] deviations of procedural volumes themselves.
    """

    deviation: Array
    reference: Array
    structure: Array


def banded(coordinates: Tensor) -> Array:
    """Root mean square of coordinates [n, D], averaged over bands of frequency, positive."""
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
    """Release mean, covariance and shells, and make them a prior.

    Formal guarantee: the result is a function of the outputs of the mechanisms and of public
    constants.
    """

    def release(name: str, vectors: Iterator[Array], clip: float, dimension: int) -> Array:
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
    sigma = {name: one.noise_multiplier / patients for name, one in mechanisms.items()}
    mean = _mean(cohort, release, public, cfg, sigma[MEAN])
    factor = np.zeros((0, 0))
    if COVARIANCE in mechanisms:
        factor = _covariance(cohort, release, mean, public, cfg, sigma[COVARIANCE])
    deviation = np.zeros(len(mean))
    if SHELL in mechanisms:
        deviation = _shells(cohort, release, mean, public, cfg, sigma[SHELL])
    progress.finish()
    return LatentPrior(
        shape,
        torch.from_numpy(mean + public.reference).float(),
        torch.from_numpy(factor).float(),
        torch.from_numpy(deviation * cfg.temperature).float(),
        torch.from_numpy(public.structure).float(),
    )


Cohort = Callable[[], Iterator[Array]]
Release = Callable[[str, Iterator[Array], float, int], Array]


def _mean(
    cohort: Cohort, release: Release, public: PublicScale, cfg: PriorConfig, sigma: float
) -> Array:
    """[D] the mean, 0 beyond the released coordinates."""
    # Sent with the square root of its expected deviation: the weights that make the summed
    # squared error after division smallest (see `frontend`).
    weight = public.deviation**-0.5
    d, clip = mean_size(public.deviation, cfg.clip, sigma)
    raw = release(MEAN, (np.mean(c[:, :d] * weight[:d], axis=0) for c in cohort()), clip, d)
    noise = (sigma * clip / weight[:d]) ** 2
    mean = np.zeros(len(public.deviation))
    mean[:d] = _shrink(raw / weight[:d], noise, public.deviation[:d] ** 2)
    return mean


def _shrink(values: Array, noise: Array, expected: Array) -> Array:
    """Wiener shrinkage: the part of a band's power that noise does not explain is kept.

    A band of few coordinates can be large by chance, so none keeps more than the public
    expectation of its power would.
    """
    shrunk = values.copy()
    start = 0
    while start < len(values):
        stop = min(len(values), max(start + 4, int(start * 1.4)))
        seen = float(np.mean(values[start:stop] ** 2))
        doubt = float(np.mean(noise[start:stop]))
        most = expected[start:stop] / (expected[start:stop] + noise[start:stop])
        shrunk[start:stop] *= np.clip(1.0 - doubt / max(seen, 1e-12), 0.0, most)
        start = stop
    return shrunk


def _covariance(
    cohort: Cohort,
    release: Release,
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
    unit = public.deviation[:r]

    def vectors() -> Iterator[Array]:
        for c in cohort():
            y = (c[:, :r] - mean[:r]) / unit
            # Clipped before the square, so the square's norm is at most clip ** 2.
            y = y * np.minimum(1.0, clip / np.maximum(np.linalg.norm(y, axis=1), 1e-12))[:, None]
            yield (y.T @ y / max(len(y), 1))[upper] * fold

    raw = release(COVARIANCE, vectors(), clip**2, len(fold)) / fold
    matrix = np.zeros((r, r))
    matrix[upper] = raw
    matrix = matrix + matrix.T - np.diag(np.diag(matrix))
    noise = (sigma * clip**2) ** 2
    return unit[:, None] * _factor(matrix, noise)


def _rank(wanted: int, dimension: int, sigma: float) -> int:
    """Largest rank at which the noise matrix (norm about 2 sigma C^2 sqrt(r)) is below 1/2."""
    affordable = int((1.0 / (4.0 * max(sigma, 1e-12))) ** (2.0 / 3.0))
    return min(wanted, dimension, affordable)


def _factor(matrix: Array, noise: float) -> Array:
    """A factor of the noisy covariance, shrunk to its diagonal and made positive."""
    r = len(matrix)
    # Entries below this would be noise around a coordinate that hardly varies.
    diagonal = np.maximum(np.diag(matrix), 0.02)
    off = matrix - np.diag(np.diag(matrix))
    count = max(1, r * (r - 1))
    seen = float((off**2).sum()) / count
    keep = max(0.0, 1.0 - 0.5 * noise / max(seen, 1e-12)) if r > 1 else 0.0
    values, vectors = np.linalg.eigh(np.diag(diagonal) + keep * off)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _shells(
    cohort: Cohort,
    release: Release,
    mean: Array,
    public: PublicScale,
    cfg: PriorConfig,
    sigma: float,
) -> Array:
    """[D] deviations: the public ones, scaled shell by shell by what the patients show."""
    group = shells(len(mean)).numpy()
    count = np.maximum(np.bincount(group, minlength=SHELLS), 1)
    clip = cfg.clip * float(np.sqrt(SHELLS))

    def vectors() -> Iterator[Array]:
        for c in cohort():
            square = np.mean(((c - mean) / public.deviation) ** 2, axis=0)
            yield np.sqrt(np.bincount(group, weights=square, minlength=SHELLS) / count)

    raw = release(SHELL, vectors(), clip, SHELLS)
    return np.asarray(public.deviation * np.maximum(raw, 0.02)[group])
