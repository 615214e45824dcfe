"""What a release states of a model whose training went on from earlier private ones.

It never says whether a patient is in several of these trainings, nor how many are: that is a fact
of the patients, and no noise was added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvae.privacy import Mechanism, Plan


@dataclass(frozen=True)
class Worst:
    """What the patient who may have lost most lost by the plans behind a model."""

    mechanisms: tuple[Mechanism, ...]
    epsilon: float
    planned: float | None


def worst_of(plans: Sequence[Plan], target: float | None) -> Worst:
    """The composition of all plans, whoever the patients are: one of them may be in each training.

    target: epsilon that the first plan was made for; the others carry theirs.
    """
    from medvae.privacy import epsilon

    earlier = [
        earlier_plan.constants.get("privacy", {}).get("epsilon") for earlier_plan in plans[1:]
    ]
    targets = [target, *earlier]
    if len(plans) == 1:
        return Worst(plans[0].mechanisms, plans[0].epsilon, target)
    mechanisms = tuple(mechanism for plan in plans for mechanism in plan.mechanisms)
    targets_known = [value for value in targets if value is not None]
    planned = sum(targets_known) if len(targets_known) == len(targets) else None
    return Worst(mechanisms, epsilon(mechanisms, plans[0].delta), planned)


def shown(name: str, plan: Plan) -> dict[str, Any]:
    """An earlier training, as the card lists it."""
    return {
        "name": name,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "patients": plan.patients,
        "plan_digest": plan.digest().hex(),
    }
