"""The patients that a model's volumes are nearest to: sealed in the tenant, and in no release."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import datasets, models
from medvae.api.results import Nearest, NearestRow
from medvae.errors import NotFoundError
from medvae.options.generate import GenerateOptions
from medvae.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Collection

    from medvae.api.context import TenantContext
    from medvae.vault import Tenant

# What it is sealed as, under the model's name. No verb writes an object of this kind to a file.
KIND = "nearest"
SEED = 0


@dataclass(frozen=True)
class NearestRequest:
    """What was asked for.

    Attributes:
        against: a data set with patients that the model never saw.
        n: volumes that are drawn.
    """

    against: str | None = None
    n: int = 32


def nearest(
    context: TenantContext, model: str, request: NearestRequest, progress: Progress
) -> Nearest:
    """Draw volumes, find the patients they are nearest to, and seal that in the tenant.

    Raises:
        UsageError: the model was trained on no patient of this tenant.
        InputError: it was trained on fewer than eight.
    """
    from medvae.api.evaluation import real_volumes
    from medvae.audit.nearest import neighbours

    tenant = context.tenant
    ref = models.patients_of(tenant, model)
    label = None if request.against is None else datasets.resolve(tenant, request.against)
    members = list(real_volumes(context, ref))
    subjects = {subject for subject, _ in members}
    others = () if label is None else real_volumes(context, label)
    artifact = models.load(tenant, model)
    options = GenerateOptions(model, request.n, Path(), seed=SEED, progress=progress)
    near = neighbours(
        models.draw(context, artifact, options)[1],
        members,
        data=artifact.config().data,
        others=((subject, volume) for subject, volume in others if subject not in subjects),
        progress=progress,
    )
    result = Nearest(
        model=model,
        members=ref,
        against=label,
        n=request.n,
        seed=SEED,
        compared=near.compared,
        unseen=near.unseen,
        usual=near.usual,
        least=near.least,
        rows=tuple(NearestRow(**vars(row)) for row in near.found),
        releasable=False,
    )
    tenant.put(KIND, json.dumps(result.to_json()).encode(), name=model, replace=True)
    # A look at patients, which the card of a release counts.
    tenant.record("audit", model=model, dataset=ref, nearest=True)
    return result


def last(tenant: Tenant, model: str) -> Nearest:
    """What was sealed of a model. Raises NotFoundError where nothing was."""
    if tenant.find(KIND, model) is None:
        raise NotFoundError(
            f"tenant {tenant.name} holds no comparison of model {model!r} with its patients: run "
            f"medvae model nearest {model} without --last"
        )
    read = json.loads(tenant.get_named(KIND, model))
    rows = tuple(NearestRow(**row) for row in read["rows"])
    tenant.record("audit", model=model, dataset=read["members"], nearest=True)
    return Nearest(**(read | {"rows": rows}))


def forget(tenant: Tenant, labels: Collection[str]) -> None:
    """Delete every comparison with one of these data sets; within a transaction of the caller's."""
    for name in tenant.names(KIND):
        read = json.loads(tenant.get_named(KIND, name))
        if {read["members"], read["against"]} & set(labels):
            stored = tenant.find(KIND, name)
            assert stored is not None
            tenant.delete(KIND, stored)
