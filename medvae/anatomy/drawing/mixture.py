"""Grey values of tissues and the coil's shading in one image: unified segmentation.

Expectation-maximisation of a Gaussian mixture whose prior is the registered anatomy, alternating
with Gauss-Newton steps of a smooth gain (Ashburner and Friston 2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.registration.subject import Maps

ROUNDS = 12
# Smallest standard deviation of a tissue, as part of the image's range.
LEAST_STD = 0.02
# How many voxels the assumption of no shading, and of a typical deviation, count like.
RIDGE, PRIOR_VOXELS, TYPICAL_STD = 200.0, 20.0, 0.08
# At first, a voxel counts by this power of its prior: where the anatomy is sure.
SURE = 4.0


@dataclass(frozen=True)
class Mixture:
    """Attributes:
    means: [K] signal of each tissue without shading.
    shading: [J] coefficients of the logarithm of the gain.
    gain: [P] of each voxel.
    posterior: [K, P] probability of each tissue.
    """

    means: Array
    shading: Array
    gain: npt.NDArray[np.float32]
    posterior: Maps


def fit(signal: npt.NDArray[np.float32], prior: Maps, basis: Maps) -> Mixture:
    """Args:
    signal: [P] of voxels, 0 to 1.
    prior: [K, P] probability of each tissue; a voxel whose priors are all 0 counts for nothing.
    basis: [J, P] functions of the logarithm of the gain.
    """
    shading = np.zeros(len(basis))
    gain = np.ones_like(signal)
    posterior = prior**SURE
    means, variances = np.zeros(len(prior)), np.ones(len(prior))
    for turn in range(ROUNDS):
        means, variances = _tissues(signal, gain, posterior)
        if len(basis) and turn > 0:
            shading = shading + _step(signal, gain, posterior, means, variances, basis, shading)
            gain = np.exp(shading.astype(np.float32) @ basis)
        posterior = _posterior(signal, gain, prior, means, variances)
    means, _ = _tissues(signal, gain, posterior)
    return Mixture(means, shading, gain, posterior)


def _tissues(
    signal: npt.NDArray[np.float32], gain: npt.NDArray[np.float32], posterior: Maps
) -> tuple[Array, Array]:
    """[K] means and variances; a tissue without voxels has the mean 0."""
    true = signal / gain
    mass = posterior.sum(axis=1, dtype=np.float64)
    means = np.asarray(posterior @ true, np.float64) / np.maximum(mass, 1e-6)
    square = np.asarray(posterior @ true**2, np.float64) / np.maximum(mass, 1e-6)
    own = np.maximum(square - means**2, 0.0) * mass + PRIOR_VOXELS * TYPICAL_STD**2
    return means, np.maximum(own / (mass + PRIOR_VOXELS), LEAST_STD**2)


def _step(
    signal: npt.NDArray[np.float32],
    gain: npt.NDArray[np.float32],
    posterior: Maps,
    means: Array,
    variances: Array,
    basis: Maps,
    shading: Array,
) -> Array:
    """[J] Gauss-Newton step of the shading."""
    drawn = gain * (means.astype(np.float32) @ posterior)
    total = posterior.sum(axis=0)
    weight = total / np.maximum(variances.astype(np.float32) @ posterior, LEAST_STD**2)
    slopes = basis * drawn
    weighted = slopes * weight
    matrix = np.asarray(weighted @ slopes.T, np.float64)
    ridge = RIDGE / TYPICAL_STD**2 * 0.01
    right = np.asarray(weighted @ (signal - drawn), np.float64) - ridge * shading
    return np.asarray(np.linalg.solve(matrix + ridge * np.eye(len(shading)), right))


def _posterior(
    signal: npt.NDArray[np.float32],
    gain: npt.NDArray[np.float32],
    prior: Maps,
    means: Array,
    variances: Array,
) -> Maps:
    true = signal / gain
    likelihood = np.empty_like(prior)
    for row, own, mean, variance in zip(likelihood, prior, means, variances, strict=True):
        # The normal density, and a little everywhere: a voxel that no tissue explains stays known.
        density = np.exp(-0.5 * (true - np.float32(mean)) ** 2 / np.float32(variance))
        row[...] = own * (density / np.float32(np.sqrt(variance)) + np.float32(1e-6))
    has_prior = (prior.sum(axis=0) > 0).astype(np.float32)
    return np.asarray(
        likelihood * (has_prior / np.maximum(likelihood.sum(axis=0), 1e-30)), np.float32
    )
