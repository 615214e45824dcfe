"""Labels as ellipsoids: nine numbers each, from which the first shapes are drawn.

Sensitivity. A volume's vector holds, for each label, its centroid and the square root of its
covariance, in parts of the grid's sides, less public ones; a patient's mean of them is
clipped to `clip(labels)`, so the released mean moves by at most clip / N.

Where noise is strong, nine numbers of a thin label survive when the hundred coefficients of
its signed distance do not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import optimize

from medvae.atlas.basis import Array, Shape, pack, unpack

SIZE = 9
# Public: a label is expected in the middle, with a standard deviation of a tenth of the grid.
DEVIATION = 0.1
# Public: how far a cohort's mean may be from that, for centroids and for the matrix.
COHORT = np.array([0.15] * 3 + [0.05] * 6)
# Voxels that a union is split by.
SPLIT_BY = 20_000
# A full ellipsoid reaches sqrt(5) standard deviations along its axes.
RADII = np.sqrt(5.0)


def clip(labels: int) -> float:
    """Typical norm of a vector: a fifth of the grid off centre, half as large again."""
    return float(0.3 * np.sqrt(labels))


def describe(mask: npt.NDArray[np.uint8], labels: int) -> Array:
    """[9 L]: per label centroid - 1/2 and packed sqrt(covariance) - 0.1 I; 0 for a label absent."""
    found = np.zeros((labels, SIZE))
    for label in range(1, labels + 1):
        inside = np.argwhere(mask == label)
        if len(inside):
            places = (inside + 0.5) / np.array(mask.shape) - 0.5
            values, vectors = np.linalg.eigh(np.cov(places.T, ddof=0).reshape(3, 3))
            root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
            found[label - 1] = [*places.mean(axis=0), *pack(root - DEVIATION * np.eye(3))]
    return found.ravel()


def shrink(released: Array, noise: float) -> Array:
    """[9 L] drawn towards the public expectation by the noise deviation."""
    each = released.reshape(-1, SIZE)
    return np.asarray((each * COHORT**2 / (COHORT**2 + noise**2)).ravel())


def draw(moments: Array, shape: Shape) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] labels: ellipsoids of these moments; where two overlap, the deeper inside."""
    sides = [(np.arange(n) + 0.5) / n - 0.5 for n in shape]
    places = np.stack(np.meshgrid(*sides, indexing="ij")).reshape(3, -1)
    depths = []
    for each in moments.reshape(-1, SIZE):
        values, vectors = np.linalg.eigh(unpack(each[3:]) + DEVIATION * np.eye(3))
        # Never thinner than two voxels or so: it could not be registered to anything.
        radii = RADII * np.clip(values, 1.0 / min(shape), 0.5)
        across = vectors.T @ (places - each[:3, None]) / radii[:, None]
        depths.append((across**2).sum(axis=0))
    nearest = np.argmin(depths, axis=0)
    inside = np.min(depths, axis=0) < 1.0
    return np.asarray(np.where(inside, nearest + 1, 0), dtype=np.uint8).reshape(shape)


def split(union: npt.NDArray[np.bool_], moments: Array) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] the union divided into labels whose centroids are those of the moments.

    By a power diagram (Aurenhammer 1987) around the centroids, with the weights, of which there
    is one fewer than labels, that fit best. Centroids alone: noise of the same deviation hides
    radii sooner.
    """
    centres = moments.reshape(-1, SIZE)[:, :3]
    labels = len(centres)
    places = (np.argwhere(union) + 0.5) / np.array(union.shape) - 0.5
    apart = max(1e-4, float(np.mean(((centres - centres.mean(axis=0)) ** 2).sum(axis=-1))))
    few = places[:: 1 + len(places) // SPLIT_BY]

    def nearest(places: Array, weights: Array) -> npt.NDArray[np.int64]:
        far = np.stack([((places - centre) ** 2).sum(axis=1) for centre in centres])
        return np.asarray((far - apart * np.append(weights, 0.0)[:, None]).argmin(axis=0))

    def misfit(weights: Array) -> float:
        own = nearest(few, weights)
        found = [few[own == k].mean(axis=0) if (own == k).any() else 1.0 for k in range(labels)]
        return float(sum(((one - c) ** 2).sum() for one, c in zip(found, centres, strict=True)))

    mask = np.zeros(union.shape, np.uint8)
    weights = np.zeros(labels - 1)
    if labels > 1 and len(places):
        most = {"maxfev": 400 * (labels - 1)}
        weights = optimize.minimize(misfit, weights, method="Powell", options=most).x
    mask[union] = nearest(places, weights) + 1
    return mask
