"""A model of several hospitals' patients, from the statistics that each of them has released.

Formal guarantee: the model is a function of public people, of public constants and of these
releases, so that nobody loses more by it than by his or her hospital's release (`privacy.apart`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.numbers import Numbers
from medvae.config import RunConfig
from medvae.errors import IntegrityError, UsageError
from medvae.model import Artifact
from medvae.model.artifact import FORMAT, model_facts
from medvae.privacy import Plan
from medvae.privacy.apart import apart
from medvae.progress import SILENT, Progress
from medvae.threads import one_thread
from medvae.train import alike, hospitals
from medvae.train import anatomy as anatomy_stage
from medvae.train.public import start
from medvae.train.run import train_on_samples
from medvae.train.stages import Stages
from medvae.train.state import NullCheckpointStore
from medvae.train.statistics import CENTRE, MADE, RELEASED, Statistics


@dataclass(frozen=True)
class Hospital:
    """A file, and who signed it.

    Attributes:
        signer: fingerprint of its key. `known`: whether whoever joins gave that key.
    """

    statistics: Statistics
    signer: str
    known: bool

    def facts(self) -> dict[str, Any]:
        """What the joint model says of the hospital; its patients' guarantee is in the plan."""
        statement, plan = self.statistics.statement, self.statistics.plan
        return {
            "tenant": statement.tenant,
            "model": statement.model,
            "patients": plan.patients,
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "plan": statement.plan,
            "sha256": statement.arrays,
            "signer": self.signer,
            "known": self.known,
            "debited": statement.debited,
            "limit": statement.limit,
            "account": statement.account.model_dump(mode="json"),
            "looks": statement.looks.model_dump(mode="json"),
        }


def arrays_of(artifact: Artifact, name: str, cohort: CohortAnatomy) -> dict[str, np.ndarray]:
    """What the statistics of a private model's file hold.

    name: of the model, for messages. cohort: the library's entry that it draws.

    Raises:
        UsageError: its statistics cannot be joined with others, and why.
    """
    arrays = {key: values.numpy() for key, values in artifact.part("anatomy").items()}
    if not alike.is_made_today(cohort, arrays):
        raise UsageError(
            f"model {name} was made by another version of the anatomy model, and can be joined "
            "with none of today; train it again"
        )
    # Model files have the same prefix.
    released = {key: values for key, values in arrays.items() if key.startswith(RELEASED)}
    return {
        **{key: values.astype(np.float64) for key, values in released.items()},
        **{f"{CENTRE}{key}": values for key, values in alike.centre(cohort).items()},
        **{f"{MADE}{key}": values for key, values in alike.made(cohort).items()},
    }


def check_source(artifact: Artifact, name: str) -> None:
    """Refuse a model whose statistics are no hospital's own release.

    Raises:
        UsageError: it is public, compressed, joined or continued, or holds no such statistics.
        IntegrityError: it is private and carries no plan.
    """
    facts = artifact.facts
    reasons = {
        "is a public one and holds no statistics of patients": facts["kind"] == "public",
        "is compressed: name the model that it was made from": "compression" in facts,
        "was joined from others: join the files of their hospitals": "hospitals" in facts,
        "goes on from another one, whose numbers its own are around: train on all patients as one "
        "data set": "continues" in facts,
        "has no anatomy, the only model whose statistics can be joined": not artifact.part(
            "anatomy"
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise UsageError(f"model {name} {reason}")
    if facts.get("plan") is None:
        raise IntegrityError(f"model {name} carries no plan")
    alike.check_config(artifact.config(), Plan.from_json(facts["plan"]), f"model {name}")


def configuration(files: Sequence[Statistics]) -> RunConfig:
    """Of the joint model: what all files agree in, and nothing else that a file says.

    How the network trains is that of the file with the smallest digest, within bounds.
    """
    first = min(files, key=lambda one: one.statement.arrays).config
    return RunConfig.model_validate(
        {
            "seed": first.seed,
            "data": first.data.model_dump(),
            "model": first.model.model_dump(),
            "anatomy": first.anatomy.model_dump() | {"share": 1.0},
            "atlas": {"share": 0.0, "samples": first.atlas.samples, "steps": first.atlas.steps},
            "finetune": {"share": 0.0},
            "prior": {"share": 0.0},
            "privacy": {
                "epsilon": max(one.config.privacy.epsilon for one in files),
                "delta": max(one.plan.delta for one in files),
                "unit": first.privacy.unit,
            },
        }
    )


def numbers_of(files: Sequence[Statistics], cohort: CohortAnatomy) -> Numbers:
    """The joint numbers; see `alike.member_of` for what is refused."""
    members = [alike.member_of(one, cohort) for one in files]
    return hospitals.joined(alike.public_of(cohort), members)


def join(
    members: Sequence[Hospital], cohort: CohortAnatomy, progress: Progress = SILENT
) -> Artifact:
    """The joint model; the order of the members changes no bit of it.

    cohort: the library's entry that all of them name, ready for `configuration`.

    Raises:
        UsageError, InputError: as `alike`.
    """
    ordered = sorted(members, key=lambda one: one.statistics.statement.arrays)
    files = [one.statistics for one in ordered]
    alike.check_alike(files)
    cfg, numbers = configuration(files), numbers_of(files, cohort)
    model = AnatomyModel(cohort, numbers, greys_apart=cohort.renderer.greys_apart)
    with one_thread():
        network = start(cfg)
        stages = Stages.resume(NullCheckpointStore())
        train_on_samples(network, partial(anatomy_stage.patches, model, cfg), cfg, stages, progress)
    tensors = {f"model.{k}": v.cpu() for k, v in network.state_dict().items()}
    guarantee = apart([(one.signer, one.statistics.plan) for one in ordered])
    facts: dict[str, Any] = {
        "format": FORMAT,
        "kind": "private",
        "private": True,
        "epsilon": guarantee.epsilon,
        "delta": guarantee.delta,
        "config": cfg.public(),
        "model": model_facts(cfg.model, network),
        # Each hospital has a plan of its own.
        "plan": None,
        "stages": ["anatomy"],
        "anatomy": anatomy_stage.provenance(cohort),
        "hospitals": [one.facts() for one in ordered],
    }
    return Artifact(tensors | anatomy_stage.tensors(model), facts)
