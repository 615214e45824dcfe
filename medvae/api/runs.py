"""What a run needs before its debit, and what becomes of it when it is done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medvae.api import datasets
from medvae.api.patients import TenantCheckpoint
from medvae.api.records import Manifest, RunRecord, section
from medvae.api.results import TrainResult
from medvae.errors import IntegrityError, NotFoundError, UsageError

if TYPE_CHECKING:
    from medvae.config import RunConfig
    from medvae.model import Artifact
    from medvae.privacy import Plan
    from medvae.vault import Tenant


def run_key(tenant: Tenant, run: RunRecord, plan: Plan, manifest: Manifest) -> bytes:
    """32 bytes that all private randomness of a run comes from.

    Raises:
        IntegrityError: the run's secret is gone.
    """
    from medvae import privacy

    try:
        secret = tenant.get_named("run-secret", run["name"])
    except NotFoundError as error:
        raise IntegrityError(
            f"run {run['name']!r} has lost its secret, without which it cannot be resumed: "
            "restore catalogue.db, keyring.json and objects/ from one backup that holds it"
        ) from error
    return privacy.run_key(secret, plan.digest(), datasets.digest(manifest), "train")


def init(
    tenant: Tenant, name: str | None, cfg: RunConfig, plan: Plan | None = None
) -> Artifact | None:
    """The model to start from: a public one, or a private one that is continued; None: the shipped
    weights.

    plan: of a run that was begun; None: of one that is yet to be planned.

    Raises:
        UsageError: it is another network, or private and cannot be continued.
        IntegrityError: a private one is not the model that the plan was made for.
    """
    if name is None:
        return None
    if cfg.cosines.share > 0:
        raise UsageError("--init starts a network, and the cosine model has none: leave it out")
    from medvae.api.models import load
    from medvae.train import continuing

    artifact = load(tenant, name)
    if artifact.facts["kind"] != "public":
        continuing.check(cfg, name, artifact)
        if plan is not None:
            continuing.check_bound(plan, artifact)
        return artifact
    if artifact.facts["model"]["config"] != cfg.model.model_dump(mode="json"):
        raise UsageError(
            f"--init {name} is another network than the configuration's section model; "
            "pretrain with this configuration, or set model.* to what it was made with"
        )
    return artifact


def finish(tenant: Tenant, run: RunRecord, artifact: Artifact, seconds: float) -> RunRecord:
    """In one transaction: the model in, the noise's secret and the checkpoint gone."""
    plan = json.loads(run["plan"])
    run = run | {
        "state": "done",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "epsilon": plan["epsilon"],
        "model_epsilon": artifact.facts["epsilon"],
        "delta": plan["delta"],
        "steps": sum(mechanism["steps"] for mechanism in plan["mechanisms"]),
        "seconds": round(seconds, 1),
    }
    with tenant.transaction():
        tenant.put("model", artifact.to_bytes(), name=run["name"])
        tenant.put("run", json.dumps(run).encode(), name=run["name"], replace=True)
        TenantCheckpoint(tenant, run["name"]).forget()
        secret = tenant.find("run-secret", run["name"])
        if secret is not None:
            tenant.delete("run-secret", secret)
    tenant.record("train", model=run["name"], dataset=run["dataset"], private=True)
    return run


def notes_of(unusable: int, beyond: str) -> tuple[str, ...]:
    """Remarks on the cohort; beyond: what the grid cuts off, or empty."""
    lost = f"{unusable} volumes could not be brought to the grid and count as none"
    notes = [note for note in (lost if unusable else "", beyond) if note]
    return tuple(f"{note} (a figure of private data: it stays in the tenant)" for note in notes)


def result(run: RunRecord, notes: tuple[str, ...]) -> TrainResult:
    """What `train` gives for a run that is done."""
    return TrainResult(
        model=run["name"],
        epsilon=run["epsilon"],
        delta=run["delta"],
        steps=run["steps"],
        dataset=run["dataset"],
        seconds=run["seconds"],
        notes=notes,
        unit=str(section(run, "privacy").get("unit") or "patient"),
        continues=json.loads(run["plan"])["constants"].get("continues", {}).get("name"),
    )
