"""`audit`: every attack that the data at hand allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from medvae.anatomy.cohort import CohortAnatomy
from medvae.audit.closest_record import closest_record
from medvae.audit.copies import part_copies, whole_copies
from medvae.audit.embed import Embedded, embed
from medvae.audit.means import Means
from medvae.audit.membership import membership, other_kind
from medvae.audit.noise import noise_of_means
from medvae.audit.report import Finding, Report
from medvae.audit.tracing import Candidates
from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.grid import Gridded, to_grid
from medvae.model import Artifact
from medvae.privacy import Plan
from medvae.progress import SILENT, Progress
from medvae.volume import Volume

# Fewer patients give no scale for copies, and no power to an attack.
FEWEST = 8
_BEYOND = (
    "gradients: a model does not hold the noised sums of DP-SGD; audit --engine attacks the "
    "mechanism that makes them",
    "what else is known of the patients: releases by other tenants or hospitals, and other models",
)


def audit(
    synthetic: Iterable[Volume],
    members: Iterable[tuple[str, Volume]],
    *,
    data: DataConfig,
    others: Iterable[tuple[str, Volume]] = (),
    model: Artifact | None = None,
    anatomy: CohortAnatomy | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Attack a model, and synthetic volumes drawn from it, with the patients it was trained on.

    Args:
        synthetic: volumes drawn from the model.
        members: (subject, volume) of the patients that it was trained on.
        data: the model's grid.
        others: (subject, volume) of patients of the same kind that it never saw; without
            them membership cannot be measured.
        model: whose numbers are attacked; without it there are only its volumes.
        anatomy: the library's entry that the model was trained with, where it was.

    Raises:
        InputError: no synthetic volume, or fewer than eight members.
    """
    plan = _plan(model)
    means = None if model is None or plan is None else Means(model, plan, anatomy)
    numbered = ((str(number), volume) for number, volume in enumerate(synthetic))
    generated = embed(gridded(numbered, data), "synthetic", progress)
    inside, outside = Candidates(means), Candidates(means)
    real = embed(_measured(inside, members, data), "members'", progress)
    unseen = embed(_measured(outside, others, data), "other patients'", progress)
    patients, n_others = (len(np.unique(group.subjects)) for group in (real, unseen))
    if not len(generated):
        raise InputError("there is no synthetic volume to audit")
    if patients < FEWEST:
        raise InputError(f"an audit needs at least {FEWEST} patients, and there are {patients}")
    findings = [whole_copies(generated, real), part_copies(generated, real)]
    noise = None if means is None else noise_of_means(means, inside)
    if noise is not None:
        findings.append(noise)
    if n_others >= FEWEST:
        findings.append(closest_record(generated, real, unseen))
    classes = {**inside.classes(), **outside.classes()}
    reason = _no_membership(means, real, unseen, n_others, classes)
    if reason is None and means is not None and plan is not None:
        progress.start("membership", 1)
        outcome = membership(means, plan, inside, outside)
        progress.finish()
        if isinstance(outcome, Finding):
            findings.append(outcome)
        else:
            reason = outcome
    not_run = [reason] if reason else []
    if n_others < FEWEST:
        not_run.append(f"closest record: {_few(n_others)}")
    if noise is None:
        not_run.append("noise: the model stores no mean exactly as it was released")
    return Report(tuple(findings), tuple(not_run), _not_attacked(plan, means))


def _plan(model: Artifact | None) -> Plan | None:
    stated = None if model is None else model.facts.get("plan")
    return None if stated is None else Plan.from_json(stated)


def _measured(
    candidates: Candidates, pairs: Iterable[tuple[str, Volume]], data: DataConfig
) -> Iterator[tuple[str, Gridded]]:
    return candidates.passing(gridded(candidates.scanning(pairs), data))


def gridded(pairs: Iterable[tuple[str, Volume]], data: DataConfig) -> Iterator[tuple[str, Gridded]]:
    """Volumes on a model's grid, without those that training ignores."""
    for subject, volume in pairs:
        try:
            yield subject, to_grid(volume, data)
        except InputError:
            # Training ignored the volume too.
            continue


def _no_membership(
    means: Means | None,
    real: Embedded,
    unseen: Embedded,
    n_others: int,
    classes: Mapping[str, str],
) -> str | None:
    """Why membership cannot be measured; None where it can be."""
    if n_others < FEWEST:
        return f"membership: {_few(n_others)}; nothing here measures it without them"
    if means is None or not means.by_name:
        return "membership: there is no released mean of a model to attack"
    if other_kind(real, unseen, classes):
        return (
            "membership: the other patients' mean image differs from the members' beyond chance, "
            "and separating two kinds of patients does not show who took part; give --against "
            "patients of the same scanner and protocol"
        )
    return None


def _few(n_others: int) -> str:
    return (
        f"needs at least {FEWEST} patients that the model never saw (--against), and {n_others} "
        "were given"
    )


def _not_attacked(plan: Plan | None, means: Means | None) -> tuple[str, ...]:
    if plan is None:
        return _BEYOND
    reached = set() if means is None else means.attacked()
    rest = [mechanism.title for mechanism in plan.mechanisms if mechanism.name not in reached]
    if not rest:
        return _BEYOND
    return (
        f"{', '.join(rest)}: the model does not hold these noised sums in a form "
        "that a patient could be compared with",
        *_BEYOND,
    )
