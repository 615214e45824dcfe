"""Weighting before a release, shrinkage after it: as few lost bits as the noise allows.

A Gaussian release spends one L2 clip on all its coordinates. With public power s_k and
weights a_k, the noise in coordinate k is proportional to 1/a_k while the norm is
sum a_k^2 s_k; the total error is least at a_k^2 ~ s_k^(-1/2). After the release,
coordinates are shrunk by their signal-to-noise ratio, estimated shell by shell from the
released numbers themselves (empirical Wiener; James and Stein 1961): post-processing.
"""

from __future__ import annotations

import itertools

import numpy as np

from medvae.atlas.basis import Array, Basis, Shape

# Public: part of an individual's power that the mean over individuals is expected to hold
# at low frequencies; it is halved where individuals are as far out of step as `reach` says.
SHARED = 0.5


def power_law(frequency: Array, corner: float, slope: float) -> Array:
    """Public power spectrum of an individual, summing to 1 over the coefficients."""
    power = (1.0 + (frequency / corner) ** 2) ** (-slope / 2.0)
    return np.asarray(power / power.sum())


def weights(power: Array) -> Array:
    """a_k with a_k^2 ~ power^(-1/2), scaled so that sum a_k^2 power_k = sum power."""
    root = np.sqrt(power)
    return np.asarray(np.sqrt(power.sum() / (root * root.sum())))


def best_limit(shape: Shape, corner: float, slope: float, noise: float, reach: float) -> float:
    """The radial frequency up to which releasing pays, for weighted noise deviation `noise`.

    `reach` is the frequency where half of the common power is lost to misalignment.

    Minimises the expected error of the shrunk release plus what is cut off. Public: it
    depends on the plan's noise and on the grid alone.
    """
    full = Basis(shape, int(np.prod(shape)))
    power = power_law(full.frequency, corner, slope)
    common = SHARED / (1.0 + (full.frequency / reach) ** 4) * power
    limits = np.arange(0.03, 0.251, 0.01)
    counts = [int((full.frequency <= limit).sum()) for limit in limits]
    errors = [_error(power, common, noise, n) if n else np.inf for n in counts]
    return float(limits[int(np.argmin(errors))])


def best_count(power: Array, common: Array, noise: float) -> int:
    """How many of coefficients of falling power [K] it pays to release (see `best_limit`)."""
    counts = [n for n in range(1, len(power) + 1) if n < 64 or n % 8 == 0 or n == len(power)]
    if not counts:
        return 0
    return counts[int(np.argmin([_error(power, common, noise, n) for n in counts]))]


def _error(power: Array, common: Array, noise: float, count: int) -> float:
    """Expected squared error of the first coefficients, released and shrunk, and of the rest."""
    signal, dirt = common[:count], (noise / weights(power[:count])) ** 2
    return float((signal * dirt / (signal + dirt)).sum() + common[count:].sum())


def shells(frequency: Array) -> list[slice]:
    """Runs of neighbouring frequencies, growing outwards: enough of each to estimate power."""
    edges = [0]
    while edges[-1] < len(frequency):
        size = max(3, int(edges[-1] * 0.5))
        edges.append(min(len(frequency), edges[-1] + size))
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def shrink(released: Array, noise: Array, frequency: Array) -> Array:
    """Wiener estimate of coefficients [..., K] from released ones with noise deviation [K].

    The signal's power of a shell is what its coefficients hold above the noise; at no
    noise the release is returned unchanged.
    """
    result = np.zeros_like(released)
    for shell in shells(frequency):
        dirt = noise[shell] ** 2
        seen = (released[..., shell] ** 2).mean(axis=-1, keepdims=True)
        signal = np.maximum(seen - dirt.mean(), 0.0)
        result[..., shell] = released[..., shell] * signal / np.maximum(signal + dirt, 1e-300)
    return result


def unshrink(shrunk: Array, noise: Array, frequency: Array) -> Array:
    """What `shrink` was given, from what it gave; 0 in shells where it kept nothing.

    Several powers of a shell can lead to one result where noise was strong: the largest is taken.
    """
    result = np.zeros_like(shrunk)
    for shell in shells(frequency):
        dirt = noise[shell] ** 2
        values = shrunk[..., shell]
        result[..., shell] = np.apply_along_axis(_unshrink, -1, values, dirt)
    return result


def _unshrink(values: Array, dirt: Array) -> Array:
    """One shell: its signal's power is where what was kept and what it explains agree."""
    from scipy.optimize import brentq

    if not values.any() or not dirt.any():
        return values

    def excess(log_signal: float) -> float:
        signal = np.exp(log_signal)
        raw = values * (signal + dirt) / signal
        return float((raw**2).mean() - dirt.mean() - signal)

    largest = np.log(4.0 * (float((values**2).mean()) + float(dirt.max())))
    tried = np.linspace(largest, largest - 25.0, 200)
    above = [place for place, one in enumerate(tried) if excess(one) >= 0]
    if not above:
        return values
    place = max(above[0], 1)
    signal = np.exp(brentq(excess, tried[place], tried[place - 1]))
    return np.asarray(values * (signal + dirt) / signal)
