"""What a release states of a model whose training went on from earlier private ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvae.privacy import Mechanism, Plan


@dataclass(frozen=True)
class People:
    """Who is behind a model.

    Attributes:
        count: patients (or files) of all trainings that made it, each once.
        overlap: one of them is in several of these trainings.
    """

    count: int
    overlap: bool


@dataclass(frozen=True)
class Worst:
    """What the patient who may have lost most lost by the plans behind a model."""

    mechanisms: tuple[Mechanism, ...]
    epsilon: float
    planned: float | None


def worst_of(plans: Sequence[Plan], target: float | None, overlap: bool) -> Worst:
    """Of several plans on different patients the costliest, else their composition.

    target: epsilon that the first plan was made for; the others carry theirs.
    """
    from medvae.privacy import epsilon

    earlier = [
        earlier_plan.constants.get("privacy", {}).get("epsilon") for earlier_plan in plans[1:]
    ]
    targets = [target, *earlier]
    if not overlap or len(plans) == 1:
        costliest = max(range(len(plans)), key=lambda number: plans[number].epsilon)
        plan = plans[costliest]
        return Worst(plan.mechanisms, plan.epsilon, targets[costliest])
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
