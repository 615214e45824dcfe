"""Distances between two sets of feature vectors: [n, d] against [m, d], float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

Features = npt.NDArray[np.float64]


# A number that varies less than this among real images is taken to be the same in all.
LEAST_DEVIATION = 1e-4


def in_deviations(synthetic: Features, real: Features) -> tuple[Features, Features]:
    """Numbers of different units, each in deviations of the real ones.

    One that is the same in all real images (the darkest quantile before a black background) has
    no deviation: it stays in its own unit, where the least difference would count beyond measure.
    """
    centre, deviation = real.mean(axis=0), real.std(axis=0)
    scale = np.where(deviation > LEAST_DEVIATION, deviation, 1.0)
    return (synthetic - centre) / scale, (real - centre) / scale


def frechet(first: Features, second: Features) -> float:
    """Squared Frechet distance between Gaussians fitted to the two sets (Heusel et al. 2017).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). Biased upwards for few samples: only figures
    of equal n can be compared.
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    one, two = _factor(first), _factor(second)
    # With S1 = A'A and S2 = B'B, the trace of (S1 S2)^(1/2) is the sum of the singular values of
    # AB': no root of a d x d matrix, where there are often fewer samples than d.
    cross = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    distance = shift @ shift + (one**2).sum() + (two**2).sum() - 2 * cross
    return max(0.0, float(distance))


def _factor(features: Features) -> Features:
    """[min(n, d), d]: a matrix A whose A'A is the covariance of the features."""
    centred = features - features.mean(axis=0)
    if len(centred) > centred.shape[1]:
        centred = np.linalg.qr(centred, mode="r")
    factor: Features = centred / np.sqrt(max(len(features) - 1, 1))
    return factor


def mmd(first: Features, second: Features) -> float:
    """Unbiased squared maximum mean discrepancy, kernel (x.y / d + 1)^3 (Binkowski et al. 2018).

    Its mean is 0 when both sets come from one distribution, so it may be negative.
    """
    d, n, m = first.shape[1], len(first), len(second)

    def kernel(a: Features, b: Features) -> Features:
        product: Features = (a @ b.T / d + 1) ** 3
        return product

    own, other = kernel(first, first), kernel(second, second)
    within = (own.sum() - np.trace(own)) / (n * (n - 1))
    within += (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(within - 2 * kernel(first, second).mean())


@dataclass(frozen=True)
class Manifold:
    """Each in [0, 1] but for density, which may pass 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(synthetic: Features, real: Features, k: int = 5) -> Manifold:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A set's manifold is the union of balls that reach from each member to its k-th neighbour.
    """
    k = min(k, len(real) - 1, len(synthetic) - 1)
    reach_real, reach_made = _reach(real, k), _reach(synthetic, k)
    between = cdist(real, synthetic)
    inside = between <= reach_real[:, None]
    return Manifold(
        precision=float(inside.any(axis=0).mean()),
        recall=float((between <= reach_made[None, :]).any(axis=1).mean()),
        density=float(inside.sum(axis=0).mean() / k),
        coverage=float((between.min(axis=1) <= reach_real).mean()),
    )


def _reach(features: Features, k: int) -> Features:
    distances = cdist(features, features)
    # The 0-th neighbour is the point itself.
    reach: Features = np.partition(distances, k, axis=1)[:, k]
    return reach


def spread(features: Features) -> float:
    """Mean distance between two different members."""
    n = len(features)
    return float(cdist(features, features).sum() / (n * (n - 1)))
