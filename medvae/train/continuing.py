"""Training that goes on from a private model of the same tenant: what of it can, and its ancestry.

The earlier model was released under its own plan, so to start from it is post-processing; new
patients are protected by the new plan, and who is in both by the composition of both, which the
ledger keeps by patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.continued import Continued
from medvae.anatomy.model import AnatomyModel
from medvae.config import RunConfig
from medvae.errors import IntegrityError, UsageError
from medvae.model import Artifact
from medvae.model.artifact import FORMAT
from medvae.privacy import Plan, epsilon

# What both configurations must agree in: a number means the same only then.
_SAME = ("data", "model", "anatomy")
# Where a section may differ: what a training spends on it.
_FREE = {"anatomy": ("share",)}


def check(cfg: RunConfig, name: str, earlier: Artifact) -> None:
    """Refuse what cannot be continued, in one sentence.

    cfg: resolved for the new data set.

    Raises:
        UsageError: the model is of an earlier format, its statistics are none of public people's,
            or it was made with other data, another network or another anatomy.
    """
    if earlier.facts["kind"] != "private" or earlier.facts.get("format") != FORMAT:
        raise UsageError(
            f"--init {name} is a model of format {earlier.facts.get('format')} of kind "
            f"{earlier.facts['kind']}, which cannot be continued; train it again"
        )
    if "hospitals" in earlier.facts:
        raise UsageError(
            f"--init {name} was joined from several hospitals' statistics, round which no further "
            "patients are measured; train without --init, and join the result with theirs"
        )
    if "compression" in earlier.facts:
        raise UsageError(f"--init {name} is compressed; name the model that it was made from")
    begun = earlier.config()
    for config, whose in ((begun, f"--init {name}"), (cfg, "the configuration")):
        if not config.anatomy.public:
            raise UsageError(
                f"{whose} has no anatomy of public people: of a private model only statistics "
                "round such people can be continued; start from a model of medvae pretrain, or "
                "train on all patients as one data set"
            )
    key, was, now = difference(begun, cfg)
    if key:
        raise UsageError(
            f"--init {name} was trained with {key} {was}, and this training has {now}: only what "
            "agrees in data, model and anatomy can be continued; train without --init"
        )


def difference(begun: RunConfig, cfg: RunConfig) -> tuple[str, Any, Any]:
    """The first key that decides what a model's numbers mean, and both values; "" if none."""
    old, new = begun.public(), cfg.public()
    for section in _SAME:
        for key, value in old[section].items():
            if key not in _FREE.get(section, ()) and new[section][key] != value:
                return f"{section}.{key}", value, new[section][key]
    if begun.privacy.unit != cfg.privacy.unit:
        return "privacy.unit", begun.privacy.unit, cfg.privacy.unit
    return "", None, None


def digest(artifact: Artifact) -> str:
    """SHA-256 of a model, which the plan of a training that starts from it is bound to."""
    return hashlib.sha256(artifact.to_bytes()).hexdigest()


def constants(name: str | None, artifact: Artifact | None) -> dict[str, Any]:
    """What a plan says of the private model that its training goes on from; {} without one."""
    if artifact is None or not artifact.facts.get("private", True):
        return {}
    return {"continues": {"name": name, "sha256": digest(artifact)}}


def check_bound(plan: Plan, artifact: Artifact | None) -> None:
    """Refuse another start than the plan's: one noise round two centres would show what is between.

    Raises:
        IntegrityError: it is another private model, or missing, or the plan names none.
    """
    bound = plan.constants.get("continues", {})
    if constants(bound.get("name"), artifact).get("continues", {}) != dict(bound):
        raise IntegrityError(
            f"the run was begun from the model {bound.get('name') or '(none)'}, and that is not "
            "the model of this name today; restore it from a backup, and resume"
        )


def continued(
    cohort: CohortAnatomy | None, earlier: Artifact | None, patients: int
) -> Continued | None:
    """What new patients' statistics are measured around; None: public people.

    Raises:
        UsageError: the model's figures are those of an earlier version.
    """
    if cohort is None or earlier is None or not earlier.facts.get("private", True):
        return None
    arrays = {k: v.numpy().astype(np.float64) for k, v in earlier.part("anatomy").items()}
    model = AnatomyModel.read(cohort, arrays)
    if len(model.numbers.figures) != len(cohort.numbers.figures):
        raise UsageError(
            "the model to start from has the figures of an earlier version, which cannot be "
            "continued; train without --init"
        )
    before = sum(ancestor["patients"] for ancestor in ancestry(earlier, ""))
    return Continued(model.numbers, patients / (patients + before), cohort.bands)


def composed(plan: Plan, ancestors: Sequence[Mapping[str, Any]]) -> float:
    """Epsilon of a patient who was in the training of `plan` and in all that it goes on from."""
    plans = [plan, *(Plan.from_json(ancestor["plan"]) for ancestor in ancestors)]
    return epsilon([one for each in plans for one in each.mechanisms], plan.delta)


def ancestry(earlier: Artifact | None, name: str) -> list[dict[str, Any]]:
    """The private models that a training goes on from, the nearest first: facts for its card.

    Each has name, epsilon, delta, patients, and the digests of the model and its plan.
    """
    if earlier is None or not earlier.facts.get("private", True):
        return []
    facts: Mapping[str, Any] = earlier.facts
    plan = Plan.from_json(facts["plan"])
    nearest = {
        "name": name,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "patients": plan.patients,
        "sha256": digest(earlier),
        "plan": facts["plan"],
    }
    return [nearest, *facts.get("continues", [])]
