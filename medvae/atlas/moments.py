"""Moments of labels: each label as an ellipsoid of nine numbers, for the initial shapes.

Sensitivity. A volume's vector holds, for each label, its centroid and the square root of its
covariance, in fractions of the grid's sides, less public values. A patient's mean vector is
clipped to `clip(labels)`, so one patient changes the noisy mean by at most clip / N.

Under strong noise, nine moments of a thin label are measurable where the hundred coefficients of
its signed distance are not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import optimize

from medvae.atlas.basis import Array, Shape, pack, unpack

SIZE = 9
# Public: a label is expected at the centre, with a standard deviation of a tenth of the grid.
EXPECTED_STD = 0.1
# Public: std of a cohort's mean around that, for the centroid and for the matrix.
COHORT_STD = np.array([0.15] * 3 + [0.05] * 6)
# Voxels used to fit the partition of a union, about.
SPLIT_VOXELS = 20_000
# A full ellipsoid reaches sqrt(5) standard deviations along its axes.
RADII = np.sqrt(5.0)


def clip(labels: int) -> float:
    """Typical norm of a vector: labels a fifth of the grid off centre, and half as large again."""
    return float(0.3 * np.sqrt(labels))


def label_moments(mask: npt.NDArray[np.uint8], labels: int) -> Array:
    """[9 L] centroid - 1/2 and packed sqrt(covariance) - 0.1 I of each label; 0 if absent."""
    moments = np.zeros((labels, SIZE))
    for label in range(1, labels + 1):
        inside = np.argwhere(mask == label)
        if len(inside):
            points = (inside + 0.5) / np.array(mask.shape) - 0.5
            values, vectors = np.linalg.eigh(np.cov(points.T, ddof=0).reshape(3, 3))
            root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
            moments[label - 1] = [*points.mean(axis=0), *pack(root - EXPECTED_STD * np.eye(3))]
    return moments.ravel()


def shrink(noisy: Array, noise_std: float) -> Array:
    """[9 L] moments shrunk towards the public expectation for their noise std."""
    rows = noisy.reshape(-1, SIZE)
    return np.asarray((rows * COHORT_STD**2 / (COHORT_STD**2 + noise_std**2)).ravel())


def render(moments: Array, shape: Shape) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] labels: ellipsoids of these moments; an overlap goes to the nearer centre.

    Nearer is measured in radii of the ellipsoid.
    """
    sides = [(np.arange(n) + 0.5) / n - 0.5 for n in shape]
    points = np.stack(np.meshgrid(*sides, indexing="ij")).reshape(3, -1)
    distances = []
    for row in moments.reshape(-1, SIZE):
        values, vectors = np.linalg.eigh(unpack(row[3:]) + EXPECTED_STD * np.eye(3))
        # At least about two voxels thick: registration needs something to match.
        radii = RADII * np.clip(values, 1.0 / min(shape), 0.5)
        scaled = vectors.T @ (points - row[:3, None]) / radii[:, None]
        distances.append((scaled**2).sum(axis=0))
    nearest = np.argmin(distances, axis=0)
    inside = np.min(distances, axis=0) < 1.0
    return np.asarray(np.where(inside, nearest + 1, 0), dtype=np.uint8).reshape(shape)


def split_union(union: npt.NDArray[np.bool_], moments: Array) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] the union partitioned into labels whose centroids are those of the moments.

    The partition is a power diagram around the centroids (Aurenhammer 1987), with L - 1 fitted
    weights. It uses centroids alone: noise hides radii sooner.
    """
    centres = moments.reshape(-1, SIZE)[:, :3]
    labels = len(centres)
    points = (np.argwhere(union) + 0.5) / np.array(union.shape) - 0.5
    scale = max(1e-4, float(np.mean(((centres - centres.mean(axis=0)) ** 2).sum(axis=-1))))
    subset = points[:: 1 + len(points) // SPLIT_VOXELS]

    def nearest(points: Array, weights: Array) -> npt.NDArray[np.int64]:
        squares = np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres])
        return np.asarray((squares - scale * np.append(weights, 0.0)[:, None]).argmin(axis=0))

    def misfit(weights: Array) -> float:
        owner = nearest(subset, weights)
        means = [
            subset[owner == k].mean(axis=0) if (owner == k).any() else 1.0 for k in range(labels)
        ]
        pairs = zip(means, centres, strict=True)
        return float(sum(((mean - centre) ** 2).sum() for mean, centre in pairs))

    mask = np.zeros(union.shape, np.uint8)
    weights = np.zeros(labels - 1)
    if labels > 1 and len(points):
        options = {"maxfev": 400 * (labels - 1)}
        weights = optimize.minimize(misfit, weights, method="Powell", options=options).x
    mask[union] = nearest(points, weights) + 1
    return mask
