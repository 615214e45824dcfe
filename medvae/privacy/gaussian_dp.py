"""Closed forms of mu-Gaussian differential privacy: what plans without sampling cost, exactly.

Sources: Balle and Wang 2018 (analytic Gaussian mechanism); Dong, Roth, Su 2022 (Gaussian DP).
"""

from __future__ import annotations

import math


def gaussian_delta(mu: float, epsilon: float) -> float:
    """delta of a mu-GDP mechanism at `epsilon` (Balle and Wang 2018, theorem 8); exact."""
    from scipy.special import log_ndtr, ndtr

    if mu == 0:
        return 0.0
    low, high = -epsilon / mu - mu / 2, -epsilon / mu + mu / 2
    return max(float(ndtr(high)) - math.exp(epsilon + float(log_ndtr(low))), 0.0)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon >= 0 at which a mu-GDP mechanism is (epsilon, delta)-DP."""
    from scipy.optimize import brentq

    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    # At this epsilon the first term alone, P[loss > epsilon], is delta; the sought one is below.
    high = loss_quantile(mu, delta)
    return float(brentq(lambda e: gaussian_delta(mu, e) - delta, 0.0, high, xtol=1e-9))


def loss_quantile(mu: float, delta: float) -> float:
    """The privacy loss of mu-GDP is N(mu^2/2, mu^2); this is its upper delta-quantile."""
    from scipy.special import ndtri

    return mu * mu / 2 - mu * float(ndtri(delta))
