"""What a plan's epsilon and delta mean for one patient: figures for the card.

Five readings of the same mechanisms, each an upper bound on what an attacker can do:

    mu                 of Gaussian DP, where every mechanism takes every patient in (q = 1)
    epsilon'           with P[privacy loss > epsilon'] <= delta
    replace-one        epsilon where the alternative is another patient, not a missing one
    trade-off curve    an attacker's best true positive rate at a false positive rate
    advantage          the most by which the first of these rates exceeds the second

Sources: Balle and Wang 2018 (analytic Gaussian mechanism); Dong, Roth, Su 2022 (Gaussian DP,
trade-off functions); Gomez et al. 2025 (arXiv 2503.10945, what to state); where patients are
sampled, the privacy loss distribution of `dp_accounting`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medvae.errors import UsageError
from medvae.privacy.accounting import (
    INTERVAL,
    Event,
    Mechanism,
    check_delta,
    events,
    second_epsilon,
)
from medvae.privacy.gaussian_dp import gaussian_delta, gaussian_epsilon, loss_quantile

# The error that `second_epsilon` asks of Opacus' PRV accountant.
_PRV_ERROR = 0.01
# Rounding of every step's loss adds up: steps x interval stays near this, as far as grids of
# `_FINEST` fit in memory.
_ROUNDING = 0.01
_FINEST = 1e-5


def gaussian_mu(mechanisms: Iterable[Mechanism]) -> float | None:
    """mu of Gaussian DP of the composition; None unless every sample rate is 1.

    mu = sqrt(sum of steps / noise_multiplier^2), exact (Dong, Roth, Su 2022, corollary 3.3).
    0 where there are no mechanisms.
    """
    merged = events(mechanisms)
    if not merged:
        return 0.0
    (noise, rate, _), *others = merged
    return 1 / noise if rate == 1 and not others else None


@dataclass(frozen=True)
class SecondOpinion:
    """Epsilon by an accountant that shares no code with the first.

    Attributes:
        accountant: its name.
        epsilon: an upper bound.
        error: how far it may be above the true figure;
    """

    accountant: str
    epsilon: float
    error: float


def accountant_name(mechanisms: Iterable[Mechanism]) -> str:
    """How `epsilon` computes what these mechanisms cost, in words."""
    if gaussian_mu(mechanisms) is not None:
        return "analytic Gaussian mechanism (closed form; Balle and Wang 2018)"
    return "privacy loss distribution (PLD), dp-accounting, pessimistic"


def second_opinion(mechanisms: Iterable[Mechanism], delta: float) -> SecondOpinion:
    """Privacy loss distributions where every q is 1, PRV accounting elsewhere.

    Raises:
        UsageError: delta out of range.
    """
    mechanisms = tuple(mechanisms)
    second = second_epsilon(mechanisms, delta)
    if gaussian_mu(mechanisms) is not None:
        return SecondOpinion("privacy loss distribution (PLD), dp-accounting", second, 1e-3)
    return SecondOpinion("PRV, Opacus (an upper bound)", second, _PRV_ERROR)


def epsilon_of_loss(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """The smallest e >= 0 with P[privacy loss > e] <= delta, adding or removing one patient.

    It is larger than the epsilon of (epsilon, delta)-DP, whose delta is a mean over the
    outputs with a larger loss and not their probability. Exact where every q is 1; else an
    upper bound, losses being rounded up.

    Raises:
        UsageError: delta out of range.
    """
    mechanisms = tuple(mechanisms)
    check_delta(delta)
    mu = gaussian_mu(mechanisms)
    if mu is not None:
        return max(loss_quantile(mu, delta), 0.0) if mu else 0.0
    composed = _composed(events(mechanisms), replace_one=False, up=True)
    # Both directions: the patient added, and removed.
    return max(_quantile(pmf, delta) for pmf in (composed._pmf_remove, composed._pmf_add))


def _quantile(pmf: Any, delta: float) -> float:
    """The smallest loss e >= 0 of a discrete distribution with P[loss > e] <= delta."""
    import numpy as np

    dense = pmf.to_dense_pmf()
    # tail[i]: the probability of a loss above that of cell i; lost mass counts as infinite loss.
    cells = dense._probs
    tail = np.concatenate([np.cumsum(cells[::-1])[::-1][1:], [0.0]]) + dense._infinity_mass
    enough = np.flatnonzero(tail <= delta)
    if not enough.size:
        return math.inf
    return max(float((dense._lower_loss + int(enough[0])) * dense._discretization), 0.0)


def epsilon_replace_one(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """Epsilon at `delta` where neighbours differ in who one patient is (bounded DP, N fixed).

    The sensitivity of every sum doubles: two patients' clipped vectors may point in opposite
    directions. Exact where every q is 1; else the upper bound of the loss distribution.

    Raises:
        UsageError: delta out of range.
    """
    mechanisms = tuple(mechanisms)
    check_delta(delta)
    mu = gaussian_mu(mechanisms)
    if mu is not None:
        return gaussian_epsilon(2 * mu, delta)
    composed = _composed(events(mechanisms), replace_one=True, up=False)
    return max(float(composed.get_epsilon_for_delta(delta)), 0.0)


def true_positive_rates(
    mechanisms: Iterable[Mechanism], false_positive_rates: Sequence[float]
) -> list[float]:
    """The most that any membership attack finds, for each share of false alarms, both in [0, 1].

    The upper side of the trade-off curve between "this patient took part" and "did not" for an
    attacker who knows everything else. Exact where every q is 1 (Phi(mu - Phi^-1(1 - fpr)));
    else the bound that all (epsilon, delta) of the composition imply.

    Raises:
        UsageError: a false positive rate outside [0, 1].
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    mechanisms = tuple(mechanisms)
    rates = np.asarray(false_positive_rates, dtype=np.float64)
    if not ((rates >= 0) & (rates <= 1)).all():
        raise UsageError("false positive rates must be in [0, 1]")
    mu = gaussian_mu(mechanisms)
    if mu is not None:
        return [float(rate) for rate in (ndtr(mu + ndtri(rates)) if mu else rates)]
    composed = _composed(events(mechanisms), replace_one=False, up=False)
    # Kairouz, Oh, Viswanath 2015: (e, d)-DP bounds the curve by two lines; take the lowest.
    grid = np.linspace(0, 60, 1201)
    deltas = np.asarray(composed.get_delta_for_epsilon(grid))[:, None]
    odds = np.exp(grid)[:, None]
    steep = odds * rates + deltas
    flat = 1 - (1 - deltas - rates) / odds
    best = np.minimum(steep, flat).min(axis=0)
    return [float(rate) for rate in np.clip(best, rates, 1)]


def advantage(mechanisms: Iterable[Mechanism]) -> float:
    """The most by which an attack's true positive rate exceeds its false positive rate, in [0, 1].

    It is the total variation distance between the outputs with and without one patient, which is
    delta at epsilon 0. Exact where every q is 1 (2 Phi(mu / 2) - 1); else an upper bound.
    """
    mechanisms = tuple(mechanisms)
    mu = gaussian_mu(mechanisms)
    if mu is not None:
        return gaussian_delta(mu, 0.0)
    composed = _composed(events(mechanisms), replace_one=False, up=False)
    return min(float(composed.get_delta_for_epsilon(0.0)), 1.0)


def gaussian_advantages(delta: float, mus: Sequence[float]) -> list[tuple[float, float]]:
    """(epsilon at `delta`, advantage) of mu-Gaussian differential privacy, for each mu > 0.

    Raises:
        UsageError: delta out of range.
    """
    check_delta(delta)
    return [(gaussian_epsilon(mu, delta), gaussian_delta(mu, 0.0)) for mu in mus]


def _composed(merged: tuple[Event, ...], *, replace_one: bool, up: bool) -> Any:
    """The privacy loss distribution of all events.

    up: round each loss up, so that tail probabilities are upper bounds too; else by
    connecting the dots, whose deltas are upper bounds and tighter.
    """
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import privacy_loss_distribution as pld

    relation = (
        NeighboringRelation.REPLACE_ONE if replace_one else NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    total: Any = None
    steps = sum(steps for _, _, steps in merged)
    interval = max(min(INTERVAL, _ROUNDING / steps), _FINEST) if up else INTERVAL
    for noise, rate, count in merged:
        distribution = pld.from_gaussian_mechanism(
            noise,
            value_discretization_interval=interval,
            sampling_prob=rate,
            use_connect_dots=not up,
            neighboring_relation=relation,
        )
        part = distribution.self_compose(count) if count > 1 else distribution
        total = part if total is None else total.compose(part)
    return total
