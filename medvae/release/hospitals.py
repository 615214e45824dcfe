"""What a release states of a model that was joined from several hospitals' statistics.

Each hospital had a plan, a ledger and patients of its own, and its own noise in what it gave. What
it states of its ledger is signed by it and was not seen by whoever makes the release: the card says
so. That a patient is in several hospitals is known to nobody, so both figures are stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from medvae.errors import BudgetError, IntegrityError

if TYPE_CHECKING:
    from medvae.privacy import Plan
    from medvae.privacy.apart import Apart

# Two accountants round differently.
_ROUNDING = 1e-3


def privacy_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What `PrivacyFacts` has of a joint model's facts, but for what its tenant says.

    Raises:
        IntegrityError: it was joined from no hospital, or a plan was changed.
        BudgetError: as `guarantee`.
    """
    from medvae.privacy import accountant_name, second_opinion

    raw = facts["hospitals"]
    if not raw:
        raise IntegrityError("the model was joined from no hospital")
    worst, target = guarantee(raw)
    second = second_opinion(worst.mechanisms, worst.delta)
    return {
        "epsilon": worst.epsilon,
        "delta": worst.delta,
        "planned_epsilon": target,
        "patients": sum(hospital["patients"] for hospital in raw),
        "unit": facts.get("config", {}).get("privacy", {}).get("unit"),
        "mechanisms": tuple(asdict(mechanism) for mechanism in worst.mechanisms),
        "accountant": accountant_name(worst.mechanisms),
        "cross_check": second.epsilon,
        "cross_check_note": f"{second.accountant}; stated error {second.error:g}",
        "hospitals": tuple(shown(hospital) for hospital in raw),
        "everywhere": worst.everywhere,
    }


def guarantee(hospitals: Sequence[Mapping[str, Any]]) -> tuple[Apart, float]:
    """Of all hospitals' plans: the guarantee, and the target of whose patients lost most.

    Raises:
        BudgetError: a hospital is above the target of its plan or its limit, says another epsilon
            than its mechanisms cost, or does not say that its ledger was debited.
        IntegrityError: a plan is none, or was changed.
    """
    from medvae.privacy import Plan
    from medvae.privacy.apart import apart

    plans = [Plan.from_json(hospital["plan"]) for hospital in hospitals]
    for hospital, plan in zip(hospitals, plans, strict=True):
        _check(hospital, plan)
    targets: dict[str, float] = {}
    for hospital, plan in zip(hospitals, plans, strict=True):
        before = targets.get(hospital["signer"], 0.0)
        targets[hospital["signer"]] = before + plan.constants["privacy"]["epsilon"]
    owners = [(hospital["signer"], plan) for hospital, plan in zip(hospitals, plans, strict=True)]
    return apart(owners), max(targets.values())


def _check(hospital: Mapping[str, Any], plan: Plan) -> None:
    """One hospital keeps to what it promised its patients."""
    name = f"{hospital['tenant']}/{hospital['model']}"
    target = plan.constants.get("privacy", {}).get("epsilon")
    if hospital["debited"] is not True:
        raise BudgetError(f"hospital {name} does not state that its patients' budgets were charged")
    if target is None:
        raise BudgetError(f"hospital {name} does not say what epsilon its plan was made for")
    limits = {"the target of its plan": target, "its limit": hospital["limit"]}
    for what, limit in limits.items():
        if not plan.epsilon <= limit * (1 + _ROUNDING):
            raise BudgetError(
                f"hospital {name} has epsilon {plan.epsilon:g}, above {what}, {limit:g}"
            )
    if (hospital["epsilon"], hospital["delta"]) != (plan.epsilon, plan.delta):
        raise BudgetError(
            f"hospital {name} claims epsilon {hospital['epsilon']:g} at delta "
            f"{hospital['delta']:g}, and its plan says {plan.epsilon:g} at {plan.delta:g}"
        )


def shown(hospital: Mapping[str, Any]) -> dict[str, Any]:
    """A hospital, as the card lists it."""
    from medvae.privacy import Plan

    plan = Plan.from_json(hospital["plan"])
    return {
        "name": hospital["tenant"],
        "model": hospital["model"],
        "patients": plan.patients,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "plan_digest": plan.digest().hex(),
        "statistics_sha256": hospital["sha256"],
        "signer": hospital["signer"],
        "signer_known": hospital["known"],
        "per_patient_limit": hospital["limit"],
        "lost_in_all": dict(hospital["account"]),
        "looks": dict(hospital["looks"]),
    }


def statements(
    hospitals: Sequence[Mapping[str, Any]], everywhere: float, epsilon: float, unit: str
) -> dict[str, Any]:
    """The parts of a privacy statement that are other than one institution's.

    hospitals: as `shown`. everywhere: epsilon of who is in all of them; epsilon: of who is in one.
    """
    count = len(hospitals)
    unknown = [hospital["name"] for hospital in hospitals if not hospital["signer_known"]]
    whose = (
        f"who signed the numbers of {', '.join(unknown)} was not checked"
        if unknown
        else "the keys that signed them were known to whoever joined them"
    )
    in_all = (
        ""
        if count == 1
        else f"; who is one of all {count} has lost at most {everywhere:.4g} at the same delta "
        "(nothing here says whether one is)"
    )
    return {
        "trust_model": f"local to each of {count} hospitals: each of them ran the training on its "
        "own scans, added its noise, and is trusted with these scans alone; whoever joined what "
        "they gave, and whoever receives this release, is not trusted at all",
        "composition": f"each hospital composed its mechanisms in one plan of its own; the "
        f"mechanisms above are those of the hospital whose {unit}s have lost most. Who is a {unit} "
        f"of one hospital has lost that one's epsilon, {epsilon:.4g} at most{in_all}. "
        "Joining released numbers and sampling the model are post-processing and cost nothing more",
        "hospitals": [dict(hospital) for hospital in hospitals],
        "epsilon_in_all_hospitals": everywhere,
        "per_patient_limit": max(hospital["per_patient_limit"] for hospital in hospitals),
        "assumption": f"each hospital was debited for its plan before its training, as it states "
        f"over its signature; whoever joined its numbers has not seen its ledger, and {whose}",
    }


def rows(hospitals: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """As CARD.md and the report list hospitals."""
    return {
        f"hospital {number} ({hospital['name']})": f"epsilon {hospital['epsilon']:.4g} at delta "
        f"{hospital['delta']:g}, {hospital['patients']} patients, plan {hospital['plan_digest']}, "
        f"signer {hospital['signer']}{'' if hospital['signer_known'] else ' (not checked)'}, "
        f"looks before: evaluate {hospital['looks']['evaluate']}, audit "
        f"{hospital['looks']['audit']}"
        for number, hospital in enumerate(hospitals, 1)
    }
