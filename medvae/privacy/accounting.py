"""What a set of mechanisms costs: epsilon, and a second opinion.

Every mechanism here is a Gaussian sum over patients, Poisson-sampled at rate q and repeated;
a one-shot release is q = 1, one step. All compose into one number: by the closed form of
Gaussian DP where every mechanism takes every patient in, else by privacy loss distributions.

Sources: Koskela, Jälkö, Honkela 2020 and Doroshenko et al. 2022 (PLD, connect-the-dots) through
`dp_accounting`; Gopi, Lee, Wutschitz 2021 (PRV) through Opacus.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from medvae.errors import UsageError
from medvae.privacy.gaussian_dp import gaussian_epsilon

# Width of the privacy-loss grid. The estimate is pessimistic (an upper bound) at any width;
# 1e-3 is within 5e-4 of 1e-4 on the grid of the tests, and ten times faster.
INTERVAL = 1e-3

# What discrete Gaussians may cost above continuous ones, in all (see `gaussian_release`): thirty
# million numbers cost as much.
DISCRETE = 1e-9

# Beyond this many steps, or noise this small, the grid no longer fits in memory.
MAX_STEPS = 10_000_000
MIN_NOISE = 0.05
# More noise than this has no use.
MAX_NOISE = 1e6

# A tenant's delta unless it was created with a smaller one: fit for cohorts up to 10,000.
DEFAULT_DELTA = 1e-5

Event = tuple[float, float, int]

# What the names of earlier versions stand for, which plans, ledgers and noise streams keep.
_TITLES = {
    "atlas-motion": "atlas.deformation",
    "atlas-spread": "atlas.texture-variance",
    "finetune": "dpsgd",
}


def title_of(name: str) -> str:
    """A mechanism's name as people read it: the model's part, a dot, the statistic.

    Plans, ledgers and noise streams keep the name itself: `atlas-mean`, `prior.mean`, `finetune`.
    """
    base, dot, of = name.partition(".")
    return _TITLES.get(base, base.replace("-", ".", 1)) + dot + of


@dataclass(frozen=True)
class Mechanism:
    """One Gaussian mechanism over patients.

    Attributes:
        name: what it is for; unique inside a plan, and the name of its noise stream.
        sample_rate: q in (0, 1], the Poisson probability of each patient in each step.
        steps: number of times it is run, at least 1.
        noise_multiplier: standard deviation of the noise divided by the clip norm (the L2
            sensitivity under zero-out adjacency); at least 0.05.

    Raises:
        UsageError: a value out of range, NaN or infinite.
    """

    name: str
    sample_rate: float
    steps: int
    noise_multiplier: float

    @property
    def title(self) -> str:
        """The name as people read it (`title_of`)."""
        return title_of(self.name)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError("a mechanism must have a name, such as 'finetune'")
        if not _is_real(self.sample_rate) or not 0 < self.sample_rate <= 1:
            raise UsageError(
                f"{self.name}: sample_rate must be in (0, 1], not {self.sample_rate!r}"
            )
        if type(self.steps) is not int or not 1 <= self.steps <= MAX_STEPS:
            raise UsageError(
                f"{self.name}: steps must be a whole number in 1..{MAX_STEPS}, not {self.steps!r}"
            )
        if (
            not _is_real(self.noise_multiplier)
            or not MIN_NOISE <= self.noise_multiplier <= MAX_NOISE
        ):
            raise UsageError(
                f"{self.name}: noise_multiplier must be in [{MIN_NOISE}, {MAX_NOISE:g}],"
                f" not {self.noise_multiplier!r}"
            )


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def check_patients(patients: int) -> int:
    """`patients` itself. UsageError unless it is a positive whole number."""
    if type(patients) is not int or patients < 1:
        raise UsageError(f"the number of patients must be a positive whole number: {patients!r}")
    return patients


def check_delta(delta: float) -> float:
    """`delta` itself. UsageError unless it is in [1e-15, 1): smaller ones are lost in rounding."""
    if not _is_real(delta) or not 1e-15 <= delta < 1:
        raise UsageError(f"delta must be in [1e-15, 1), such as 1e-5, not {delta!r}")
    return float(delta)


def events(mechanisms: Iterable[Mechanism]) -> tuple[Event, ...]:
    """The mechanisms as a canonical multiset: (noise, q, steps), sorted, equal ones merged.

    Un-sampled Gaussians compose exactly into one of noise 1/sqrt(sum steps/noise^2)
    (Dong, Roth, Su 2022, corollary 3.3), so that any number of them costs one grid.
    """
    sampled: dict[tuple[float, float], int] = {}
    precision = 0.0
    for mechanism in mechanisms:
        if mechanism.sample_rate == 1:
            precision += mechanism.steps / mechanism.noise_multiplier**2
        else:
            key = (float(mechanism.noise_multiplier), float(mechanism.sample_rate))
            sampled[key] = sampled.get(key, 0) + mechanism.steps
    merged = [(noise, rate, steps) for (noise, rate), steps in sampled.items()]
    if precision:
        merged.append((precision**-0.5, 1.0, 1))
    return tuple(sorted(merged))


def epsilon(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """The epsilon at `delta` of all `mechanisms` run on the same patients, one after another.

    Formal guarantee: the composition is (epsilon, delta)-DP under add-or-remove and zero-out
    adjacency of one patient, for adaptively chosen mechanisms; an upper bound whatever the grid.

    Raises:
        UsageError: delta out of range.
    """
    return epsilon_of_events(events(mechanisms), check_delta(delta))


@lru_cache(maxsize=4096)
def epsilon_of_events(merged: tuple[Event, ...], delta: float) -> float:
    """`epsilon` of a canonical multiset; memoised, since patients share their histories."""
    if not merged:
        return 0.0
    if len(merged) == 1 and merged[0][1] == 1:
        return gaussian_epsilon(1 / merged[0][0], delta) + DISCRETE
    return _pld_epsilon(merged, delta)


def _pld_epsilon(merged: tuple[Event, ...], delta: float) -> float:
    total: Any = None
    for event in merged:
        part = _distribution(event)
        total = part if total is None else total.compose(part)
    value = float(total.get_epsilon_for_delta(delta))
    return max(value, 0.0)


@lru_cache(maxsize=64)
def _distribution(event: Event) -> Any:
    from dp_accounting.pld import privacy_loss_distribution as pld

    noise, rate, steps = event
    distribution = pld.from_gaussian_mechanism(
        noise, value_discretization_interval=INTERVAL, sampling_prob=rate
    )
    return distribution.self_compose(steps) if steps > 1 else distribution


def second_epsilon(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """The same figure by another accountant: an upper bound, at most .01 above the truth.

    Where every mechanism takes every patient in, by privacy loss distributions; else by Opacus'
    PRV accountant.

    Raises:
        UsageError: delta out of range.
    """
    import numpy as np
    from opacus.accountants import PRVAccountant

    check_delta(delta)
    merged = events(mechanisms)
    if not merged:
        return 0.0
    if all(rate == 1 for _, rate, _ in merged):
        return _pld_epsilon(merged, delta)
    accountant = PRVAccountant()
    accountant.history = list(merged)
    # At q = 1 it takes log(1 - q) on its way to the right result; and it warns of the accuracy
    # of a first guess (by RDP) that only sets the size of its grid.
    with warnings.catch_warnings(), np.errstate(divide="ignore", over="ignore"):
        warnings.simplefilter("ignore")
        return max(float(accountant.get_epsilon(delta)), 0.0)
