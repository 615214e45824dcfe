"""Membership: do the model's numbers separate its members from other patients?

The attack of `tracing` is compared with the same attack on means of random members with the plan's
noise. A model fails if it separates its members better than this noise allows; by chance, one audit
in a hundred fails. A model that passes may still separate its members better than chance: epsilon
allows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.audit.embed import Embedded
from medvae.audit.means import Means
from medvae.audit.report import Array, Finding, auc, p_of_chance
from medvae.audit.tracing import Candidates, Tracer, shuffled
from medvae.privacy import Plan, epsilon
from medvae.privacy.accounting import MIN_NOISE, title_of
from medvae.privacy.guessing import epsilon_at_least

RISK = 0.01
# Number of simulated models, with the plan's noise and with each weaker noise.
_SIMULATED, _SIMULATED_WEAKER = 399, 41
# Smallest fraction of the plan's noise in the search for the power, and its precision in log.
_MIN_NOISE_FRACTION, _PRECISION = 1e-6, 0.05
# Permutations of the test for another kind of patients.
_PERMUTATIONS = 999


@dataclass(frozen=True)
class Power:
    """The smallest effect that the attack detects, and the means that it covers.

    Attributes:
        members, others: number of patients.
        epsilon: of the plan with the strongest noise at which half of all audits fail; None if
            even a model without noise passes.
        budget_share: fraction of the plan's squared signal-to-noise in the attacked means.
        changed: attacked means that the model stores inexactly. The power assumes exact ones: the
            attack is weaker on these.
    """

    members: int
    others: int
    epsilon: float | None
    budget_share: float
    changed: tuple[str, ...]

    def sentence(self) -> str:
        """The power in words."""
        limit = (
            "not even a model without any noise would have failed"
            if self.epsilon is None
            else f"it could not have found anything below epsilon {self.epsilon:.3g}"
        )
        less = f", and less in {', '.join(map(title_of, self.changed))}" if self.changed else ""
        return (
            f"with {self.members} members and {self.others} others {limit}, in mechanisms that "
            f"hold {self.budget_share:.0%} of the budget{less}"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "members": self.members,
            "others": self.others,
            "epsilon": self.epsilon,
            "budget_share": self.budget_share,
            "changed": list(self.changed),
            "risk": RISK,
        }


def membership(means: Means, plan: Plan, members: Candidates, others: Candidates) -> Finding | str:
    """The finding; or, if no outcome could have failed, a sentence with the reason."""
    tracer = Tracer(means.by_name, members, others)
    scores = tracer.scores()
    inside, outside = scores[: tracer.members], scores[tracer.members :]
    measured_auc, p = auc(inside, outside), p_of_chance(inside, outside)
    simulated = np.sort(_aucs(tracer, 1.0, _SIMULATED))
    # At most risk * (n + 1) of the n simulated AUCs and the measured one may be this high.
    critical = float(simulated[-int(RISK * (_SIMULATED + 1))])
    power = _power(tracer, means, plan, critical)
    if power.epsilon is None:
        return f"membership: {power.sentence()} (AUC {measured_auc:.3f}, p = {p:.2g})"
    passed = measured_auc <= critical
    right, guessed = _guesses(scores, tracer.members, tracer.classes)
    bound = epsilon_at_least(right, guessed, plan.delta, RISK)
    verdict = "" if passed else "; it holds less noise than its plan says"
    return Finding(
        name="membership",
        statistic=measured_auc,
        threshold=critical,
        passed=passed,
        sentence=f"the model's numbers separate {power.members} members from {power.others} other "
        f"patients with AUC {measured_auc:.3f} (p = {p:.2g} against chance; the plan's noise "
        f"allows {critical:.3f}){verdict}; {power.sentence()}",
        details={
            "p": p,
            "p_of_plan": float((1 + (simulated >= measured_auc).sum()) / (1 + len(simulated))),
            "members": power.members,
            "others": power.others,
            "right": right,
            "guesses": 2 * guessed,
            "claimed": plan.epsilon,
            "epsilon_at_least": bound,
            "attacked": sorted(means.attacked()),
        },
        power=power.to_json(),
    )


def other_kind(
    members: Embedded, others: Embedded, classes: Mapping[str, str] | None = None
) -> bool:
    """Whether others are of another kind than members, such as of another scanner or hospital.

    A permutation test on the mean of their volumes, without the model and within each class
    (`classes`: subject -> class). Separating such groups is no evidence of membership.
    """
    class_of = classes or {}
    subjects = [*np.unique(members.subjects), *np.unique(others.subjects)]
    names = np.array([class_of.get(str(subject), "") for subject in subjects])
    rows = np.concatenate([_by_patient(members), _by_patient(others)])
    n = len(np.unique(members.subjects))
    random = np.random.default_rng(0)
    products = rows @ rows.T
    sign = np.where(np.arange(len(rows)) < n, 1.0 / n, -1.0 / (len(rows) - n))

    def distance(weights: Array) -> float:
        return float(weights @ products @ weights)

    measured = distance(sign)
    return all(distance(shuffled(sign, names, random)) < measured for _ in range(_PERMUTATIONS))


def _by_patient(group: Embedded) -> Array:
    """[patients, d] mean of each patient's volumes."""
    whole = group.whole().astype(np.float64)
    return np.array([whole[group.subjects == s].mean(axis=0) for s in np.unique(group.subjects)])


def _aucs(tracer: Tracer, noise: float, count: int) -> Array:
    """[count] AUC of the attack on simulated models, by a fixed seed."""
    random = np.random.default_rng(0)
    aucs = []
    for _ in range(count):
        scores, is_member = tracer.simulated(noise, random)
        aucs.append(auc(scores[is_member], scores[~is_member]))
    return np.array(aucs)


def _power(tracer: Tracer, means: Means, plan: Plan, critical: float) -> Power:
    """The power of the attack whose AUC is compared with a critical one."""
    return Power(
        tracer.members,
        tracer.total - tracer.members,
        _least_epsilon(tracer, plan, critical),
        _share(means, plan),
        tuple(sorted(name for name, mean in means.by_name.items() if not mean.exact)),
    )


def _least_epsilon(tracer: Tracer, plan: Plan, critical: float) -> float | None:
    """Epsilon of the plan with the strongest noise at which half of all models fail."""

    def detects(noise: float) -> bool:
        return bool(np.median(_aucs(tracer, noise, _SIMULATED_WEAKER)) > critical)

    if not detects(_MIN_NOISE_FRACTION):
        return None
    low, high = np.log(_MIN_NOISE_FRACTION), 0.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if detects(float(np.exp(middle))) else (low, middle)
    fraction = float(np.exp(low))
    weaker = [
        replace(mechanism, noise_multiplier=max(mechanism.noise_multiplier * fraction, MIN_NOISE))
        for mechanism in plan.mechanisms
    ]
    return epsilon(weaker, plan.delta)


def _share(means: Means, plan: Plan) -> float:
    """Fraction of sum steps (q / noise multiplier)^2 in the attacked mechanisms."""
    parts = {m.name: m.steps * (m.sample_rate / m.noise_multiplier) ** 2 for m in plan.mechanisms}
    return sum(parts[name] for name in means.attacked()) / sum(parts.values())


def _guesses(scores: Array, members: int, classes: npt.NDArray[Any]) -> tuple[int, int]:
    """Number of correct guesses, and of members guessed on: as many as others in each class.

    classes: [P] of all candidates.
    """
    inside, outside = list[int](), list[int]()
    for name in np.unique(classes):
        ours = np.flatnonzero(classes[:members] == name)
        theirs = members + np.flatnonzero(classes[members:] == name)
        count = min(len(ours), len(theirs))
        inside += ours[:count].tolist()
        outside += theirs[:count].tolist()
    count = len(inside)
    balanced = np.concatenate([scores[inside], scores[outside]])
    # Of equal scores, those of others come first, so ties count as wrong guesses.
    order = np.argsort(-balanced[::-1], kind="stable")[:count]
    return 2 * int((order >= count).sum()), count
