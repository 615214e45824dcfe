"""What patients have lost by plans of several institutions, each with patients of its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from medvae.privacy.accounting import Mechanism, epsilon
from medvae.privacy.plan import Plan


@dataclass(frozen=True)
class Apart:
    """The guarantee of something made of what several institutions released.

    Formal guarantee: whoever is a patient of one institution is protected by (epsilon, delta)-DP,
    for what the others release does not depend on him or her (parallel composition, McSherry 2009).
    Whoever is a patient of all of them has at most `everywhere` at the same delta.

    Attributes:
        epsilon, delta: of the institution whose patients may have lost most.
        mechanisms: of that institution.
        everywhere: epsilon of the composition of all plans.
    """

    epsilon: float
    delta: float
    mechanisms: tuple[Mechanism, ...]
    everywhere: float


def apart(plans: Sequence[tuple[Hashable, Plan]]) -> Apart:
    """The guarantee of all plans; each with whose it is.

    Plans of one institution are composed: its patients may be in several of them.
    """
    delta = max(plan.delta for _, plan in plans)
    worst: tuple[float, tuple[Mechanism, ...]] = (-1.0, ())
    for whose in dict.fromkeys(owner for owner, _ in plans):
        own = [plan for owner, plan in plans if owner == whose]
        mechanisms = tuple(mechanism for plan in own for mechanism in plan.mechanisms)
        cost = own[0].epsilon if len(own) == 1 else epsilon(mechanisms, delta)
        if cost > worst[0]:
            worst = (cost, mechanisms)
    everything = [mechanism for _, plan in plans for mechanism in plan.mechanisms]
    everywhere = worst[0] if len(plans) == 1 else epsilon(everything, delta)
    return Apart(worst[0], delta, worst[1], max(worst[0], everywhere))
