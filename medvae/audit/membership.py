"""Membership: do the model's numbers separate its members from patients whom it never saw?

The attack of `tracing` is held against the plan's own promise: the same attack on means of members
drawn at random, released with the noise that the plan says. A model fails where its members are
separated better than that noise allows, which chance does in one audit of a hundred. A model that
keeps its promise may let its members be separated better than by chance: that is what epsilon
allows.
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
from medvae.privacy.accounting import MIN_NOISE
from medvae.privacy.guessing import epsilon_at_least

RISK = 0.01
# Simulated models: of the plan, and of each other strength of noise.
_SIMULATED, _TRIED = 399, 41
# Parts of the plan's noise that are tried for the power, and to what precision.
_LEAST, _PRECISION = 1e-6, 0.05
# Draws of the test of kind, all of which must be passed to be of another kind.
_DRAWS = 999


@dataclass(frozen=True)
class Power:
    """The least that the attack would have found, and where it looked.

    Attributes:
        epsilon: of the plan's mechanisms with the most noise at which half of all audits fail;
            None where not even a model without noise would have.
        budget_share: part of the plan's squared signal-to-noise that the attacked means hold.
        changed: attacked means that the model holds in changed form, and the power as if exactly:
            the attack finds less in them.
    """

    members: int
    others: int
    epsilon: float | None
    budget_share: float
    changed: tuple[str, ...]

    def sentence(self) -> str:
        """In words."""
        limit = (
            "not even a model without any noise would have failed"
            if self.epsilon is None
            else f"it could not have found anything below epsilon {self.epsilon:.3g}"
        )
        less = f", and less in {', '.join(self.changed)}" if self.changed else ""
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
    """The finding; or, where no outcome could have failed, why the attack says nothing."""
    tracer = Tracer(means.found, members, others)
    scores = tracer.scores()
    inside, outside = scores[: tracer.members], scores[tracer.members :]
    found, p = auc(inside, outside), p_of_chance(inside, outside)
    usual = np.sort(_aucs(tracer, 1.0, _SIMULATED))
    # Of n simulated and the true one, at most risk * (n + 1) may be this high.
    critical = float(usual[-int(RISK * (_SIMULATED + 1))])
    power = Power(
        tracer.members,
        tracer.total - tracer.members,
        _least_epsilon(tracer, plan, critical),
        _share(means, plan),
        tuple(sorted(name for name, mean in means.found.items() if not mean.exact)),
    )
    if power.epsilon is None:
        return f"membership: {power.sentence()} (AUC {found:.3f}, p = {p:.2g})"
    passed = found <= critical
    right, guessed = _guesses(scores, tracer.members, tracer.classes)
    bound = epsilon_at_least(right, guessed, plan.delta, RISK)
    verdict = "" if passed else "; it holds less noise than its plan says"
    return Finding(
        name="membership",
        statistic=found,
        threshold=critical,
        passed=passed,
        sentence=f"the model's numbers separate {power.members} members from {power.others} other "
        f"patients with AUC {found:.3f} (p = {p:.2g} against chance; the plan's noise allows "
        f"{critical:.3f}){verdict}; {power.sentence()}",
        details={
            "p": p,
            "p_of_plan": float((1 + (usual >= found).sum()) / (1 + len(usual))),
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
    """Whether others differ from members in kind: another scanner, another hospital.

    By a permutation test on the mean of their volumes, without the model and within each class
    (`classes`: subject -> class). Separating such groups apart is no evidence of membership.
    """
    known = classes or {}
    subjects = [*np.unique(members.subjects), *np.unique(others.subjects)]
    kinds = np.array([known.get(str(one), "") for one in subjects])
    rows = np.concatenate([_by_patient(members), _by_patient(others)])
    n = len(np.unique(members.subjects))
    random = np.random.default_rng(0)
    products = rows @ rows.T
    sign = np.where(np.arange(len(rows)) < n, 1.0 / n, -1.0 / (len(rows) - n))

    def apart(weights: Array) -> float:
        return float(weights @ products @ weights)

    seen = apart(sign)
    return all(apart(shuffled(sign, kinds, random)) < seen for _ in range(_DRAWS))


def _by_patient(found: Embedded) -> Array:
    whole = found.whole().astype(np.float64)
    return np.array([whole[found.subjects == s].mean(axis=0) for s in np.unique(found.subjects)])


def _aucs(tracer: Tracer, noise: float, count: int) -> Array:
    """[count] AUC of the attack on simulated models; repeats exactly."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        scores, chosen = tracer.simulated(noise, random)
        found.append(auc(scores[chosen], scores[~chosen]))
    return np.array(found)


def _least_epsilon(tracer: Tracer, plan: Plan, critical: float) -> float | None:
    """Epsilon of the plan with the most noise at which the attack fails half of all models."""

    def found(noise: float) -> bool:
        return bool(np.median(_aucs(tracer, noise, _TRIED)) > critical)

    if not found(_LEAST):
        return None
    low, high = np.log(_LEAST), 0.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if found(float(np.exp(middle))) else (low, middle)
    part = float(np.exp(low))
    weaker = [
        replace(one, noise_multiplier=max(one.noise_multiplier * part, MIN_NOISE))
        for one in plan.mechanisms
    ]
    return epsilon(weaker, plan.delta)


def _share(means: Means, plan: Plan) -> float:
    """Part of sum steps (q / noise multiplier)^2."""
    parts = {m.name: m.steps * (m.sample_rate / m.noise_multiplier) ** 2 for m in plan.mechanisms}
    return sum(parts[name] for name in means.attacked()) / sum(parts.values())


def _guesses(scores: Array, members: int, classes: npt.NDArray[Any]) -> tuple[int, int]:
    """How many guesses are right, of as many members as others of each class; of how many members.

    classes: [P] of all candidates.
    """
    inside, outside = list[int](), list[int]()
    for one in np.unique(classes):
        ours = np.flatnonzero(classes[:members] == one)
        theirs = members + np.flatnonzero(classes[members:] == one)
        count = min(len(ours), len(theirs))
        inside += ours[:count].tolist()
        outside += theirs[:count].tolist()
    count = len(inside)
    taken = np.concatenate([scores[inside], scores[outside]])
    # Where scores are equal, others count as members first.
    order = np.argsort(-taken[::-1], kind="stable")[:count]
    return 2 * int((order >= count).sum()), count
