"""Lower bounds on epsilon from what a mechanism gave with and without a canary."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medvae.privacy.accounting import MIN_NOISE, Mechanism, epsilon

Array = npt.NDArray[np.float64]

# Chance that a faultless mechanism is accused by one bound or test.
RISK = 1e-4


def gaussian_bound(out: Array, present: Array, delta: float) -> float:
    """Lower bound on epsilon at `delta` from two samples of outputs (Nasr et al. 2023, s. 4).

    A threshold is chosen on one half of each sample; on the other, Clopper-Pearson bounds on its
    two error rates bound the mu of Gaussian DP from below. Exceeds the epsilon of a faultless
    Gaussian mechanism with probability at most `RISK`.

    Args:
        out, present: [n] and [m] independent outputs without and with the canary, n, m >= 4.
        delta: at which epsilon is stated.

    Returns:
        0 where nothing can be concluded; infinity where one world gives what the other cannot.
    """
    from scipy.stats import beta, norm

    finite = np.isfinite(out), np.isfinite(present)
    if not (finite[0].all() and finite[1].all()):
        return math.inf if finite[0].mean() != finite[1].mean() else 0.0
    learn, test = (out[::2], present[::2]), (out[1::2], present[1::2])
    sign = 1.0 if learn[1].mean() >= learn[0].mean() else -1.0
    cut = _best_cut(sign * learn[0], sign * learn[1])
    rates = []
    for wrong in (sign * test[0] > cut, sign * test[1] <= cut):
        count, total = int(wrong.sum()), len(wrong)
        rates.append(
            1.0 if count == total else float(beta.ppf(1 - RISK / 2, count + 1, total - count))
        )
    mu = float(-norm.ppf(rates[0]) - norm.ppf(rates[1])) if max(rates) < 1 else 0.0
    if mu <= 0:
        return 0.0
    return epsilon([Mechanism("bound", 1.0, 1, max(1 / mu, MIN_NOISE))], delta)


def _best_cut(low: Array, high: Array) -> float:
    """The threshold with the fewest errors, `low` above it and `high` not above it."""
    cuts = np.sort(np.concatenate([low, high]))
    above = 1 - np.searchsorted(np.sort(low), cuts, side="right") / len(low)
    below = np.searchsorted(np.sort(high), cuts, side="right") / len(high)
    return float(cuts[int(np.argmin(above + below))])


def coarseness(outputs: Array, grid: float) -> str:
    """What is wrong with the grid of a mechanism's outputs, in words; "" if nothing is.

    Outputs must be whole steps of the grid, and their residues uniform: where noise is on a
    coarser lattice, or is missing, some residues cannot come from the true data, and one output
    proves who took part.

    Args:
        outputs: [n] outputs of one mechanism, n >= 1000; their noise spans many steps.
        grid: the step that the mechanism states, in the outputs' unit.
    """
    from scipy.stats import chisquare

    steps = outputs / grid
    if not np.isfinite(steps).all() or (steps != np.rint(steps)).any():
        return "outputs lie between the steps of the stated grid"
    whole = steps.astype(np.int64)
    for shift in (0, 4, 8, 12, 16):
        counts = np.bincount((whole >> shift) & 15, minlength=16)
        if chisquare(counts).pvalue < RISK / 5:
            return f"residues modulo 2^{shift + 4} steps of the grid are not uniform"
    return ""
