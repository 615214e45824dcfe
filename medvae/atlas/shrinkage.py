"""Weights before a noisy mean, shrinkage after it, and how many coefficients are worth measuring.

A Gaussian mechanism spends one L2 clip on all coordinates. With public power s_k and weights a_k,
the noise of coordinate k is proportional to 1 / a_k and the squared norm is sum a_k^2 s_k; the
total error is least at a_k^2 ~ s_k^(-1/2). Afterwards coordinates are shrunk by their
signal-to-noise ratio, estimated shell by shell from the noisy values themselves (empirical
Wiener filter; James and Stein 1961). Shrinkage is post-processing: it costs no privacy.
"""

from __future__ import annotations

import itertools

import numpy as np

from medvae.atlas.basis import Array, Basis, Shape

# Public: fraction of an individual's power that the mean over individuals keeps at low
# frequencies; half of it is left at the frequency `reach`.
SHARED_POWER = 0.5


def power_law(frequency: Array, corner: float, slope: float) -> Array:
    """Public power spectrum of an individual, summing to 1 over the coefficients."""
    power = (1.0 + (frequency / corner) ** 2) ** (-slope / 2.0)
    return np.asarray(power / power.sum())


def weights(power: Array) -> Array:
    """a_k with a_k^2 ~ power^(-1/2), scaled so that sum a_k^2 power_k = sum power."""
    root = np.sqrt(power)
    return np.asarray(np.sqrt(power.sum() / (root * root.sum())))


def best_cutoff(shape: Shape, corner: float, slope: float, noise_std: float, reach: float) -> float:
    """Highest radial frequency worth measuring, in cycles per voxel (0.03 to 0.25).

    Minimises the expected error of the shrunk coefficients plus the power of those left out.
    Public: depends on the plan's noise and on the grid alone.

    Args:
        shape: of the grid, in voxels.
        corner, slope: of the power law.
        noise_std: of the weighted coefficients.
        reach: frequency at which misalignment halves the power that patients share.
    """
    full = Basis(shape, int(np.prod(shape)))
    power = power_law(full.frequency, corner, slope)
    shared = SHARED_POWER / (1.0 + (full.frequency / reach) ** 4) * power
    cutoffs = np.arange(0.03, 0.251, 0.01)
    counts = [int((full.frequency <= cutoff).sum()) for cutoff in cutoffs]
    errors = [_expected_error(power, shared, noise_std, n) if n else np.inf for n in counts]
    return float(cutoffs[int(np.argmin(errors))])


def best_count(power: Array, shared: Array, noise_std: float) -> int:
    """How many of K coefficients are worth measuring (see `best_cutoff`).

    power, shared: [K] falling; of an individual, and of the mean over individuals.
    """
    counts = [n for n in range(1, len(power) + 1) if n < 64 or n % 8 == 0 or n == len(power)]
    if not counts:
        return 0
    errors = [_expected_error(power, shared, noise_std, n) for n in counts]
    return counts[int(np.argmin(errors))]


def _expected_error(power: Array, shared: Array, noise_std: float, count: int) -> float:
    """Squared error of the first `count` coefficients after shrinkage, plus all of the rest."""
    signal, noise_var = shared[:count], (noise_std / weights(power[:count])) ** 2
    return float((signal * noise_var / (signal + noise_var)).sum() + shared[count:].sum())


def shells(frequency: Array) -> list[slice]:
    """Runs of neighbouring frequencies that grow outwards, each enough to estimate its power."""
    edges = [0]
    while edges[-1] < len(frequency):
        size = max(3, int(edges[-1] * 0.5))
        edges.append(min(len(frequency), edges[-1] + size))
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def shrink(noisy: Array, noise_std: Array, frequency: Array) -> Array:
    """Wiener estimate of coefficients [..., K] from noisy ones with noise std [K].

    The signal power of a shell is the mean square of its coefficients beyond the noise variance.
    Without noise the coefficients are returned unchanged.
    """
    shrunk = np.zeros_like(noisy)
    for shell in shells(frequency):
        noise_var = noise_std[shell] ** 2
        observed = (noisy[..., shell] ** 2).mean(axis=-1, keepdims=True)
        signal = np.maximum(observed - noise_var.mean(), 0.0)
        shrunk[..., shell] = noisy[..., shell] * signal / np.maximum(signal + noise_var, 1e-300)
    return shrunk


def unshrink(shrunk: Array, noise_std: Array, frequency: Array) -> Array:
    """Invert `shrink`; 0 in shells where it kept nothing.

    Where noise is strong, several signal powers can lead to the same result: the largest is used.
    """
    noisy = np.zeros_like(shrunk)
    for shell in shells(frequency):
        noise_var = noise_std[shell] ** 2
        noisy[..., shell] = np.apply_along_axis(_unshrink, -1, shrunk[..., shell], noise_var)
    return noisy


def _unshrink(shrunk: Array, noise_var: Array) -> Array:
    """One shell: solve for the signal power that would have produced these values."""
    from scipy.optimize import brentq

    if not shrunk.any() or not noise_var.any():
        return shrunk

    def excess(log_signal: float) -> float:
        signal = np.exp(log_signal)
        noisy = shrunk * (signal + noise_var) / signal
        return float((noisy**2).mean() - noise_var.mean() - signal)

    largest = np.log(4.0 * (float((shrunk**2).mean()) + float(noise_var.max())))
    grid = np.linspace(largest, largest - 25.0, 200)
    positive = [index for index, log_signal in enumerate(grid) if excess(log_signal) >= 0]
    if not positive:
        return shrunk
    index = max(positive[0], 1)
    signal = np.exp(brentq(excess, grid[index], grid[index - 1]))
    return np.asarray(shrunk * (signal + noise_var) / signal)
