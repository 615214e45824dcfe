"""Plan, pretrain, train, budget: the private run from its plan to its sealed model."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvae.api import cost, datasets
from medvae.api.device import pick
from medvae.api.patients import SealedPatients, TenantCheckpoint
from medvae.errors import BudgetError, IntegrityError, MedvaeError, NotFoundError, UsageError
from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.api.session import Session
    from medvae.config import RunConfig
    from medvae.model import Artifact
    from medvae.privacy import Ledger, Plan
    from medvae.vault import Tenant


@dataclass(frozen=True)
class Request:
    """What `train` was asked for beside the configuration."""

    dataset: str
    name: str
    init: str | None = None
    resume: bool = False


def ledger(tenant: Tenant) -> Ledger:
    """The tenant's privacy ledger, on its durable journal."""
    from medvae.privacy import Ledger

    return Ledger(tenant.journal("ledger"), limit=tenant.epsilon_limit)


def make_plan(cfg: RunConfig, patients: int) -> Plan:
    """The plan of a run: made of public constants and the public number of patients alone.

    Raises:
        UsageError: epsilon or delta is no budget, or nothing is to be trained.
    """
    from medvae import privacy
    from medvae.train import stage_requests

    return privacy.make_plan(
        [privacy.StageRequest(*request) for request in stage_requests(cfg, patients)],
        patients=patients,
        epsilon=cfg.privacy.epsilon,
        delta=cfg.privacy.delta,
        constants=cfg.public(),
    )


def resolve(cfg: RunConfig, manifest: dict[str, Any]) -> RunConfig:
    """The configuration with what the data set declares and the template's digest filled in.

    Raises:
        UsageError: labels or classes are asked for that the data set does not have, or the
            public template cannot be used.
    """
    return _with_template(_declared(cfg, manifest))


def _declared(cfg: RunConfig, manifest: dict[str, Any]) -> RunConfig:
    declared = datasets.declared_labels(manifest)
    wanted = declared if cfg.data.labels < 0 else cfg.data.labels
    if wanted > declared:
        raise UsageError(
            f"data.labels is {wanted}, but data set {manifest['name']} has {declared} labels "
            "for all of its volumes; set data.labels to that, or ingest with --labels"
        )
    classes = datasets.declared_classes(manifest)
    kinds = classes if cfg.data.classes < 0 else cfg.data.classes
    if kinds and not classes:
        raise UsageError(
            f"data.classes is {kinds}, but the volumes of data set {manifest['name']} have no "
            "class; set data.classes to 0, or ingest with --class-column"
        )
    if 0 < kinds < classes:
        raise UsageError(
            f"data.classes is {kinds}, but data set {manifest['name']} has the classes 0 to "
            f"{classes - 1}; set data.classes to {classes}, or to 0 to learn none"
        )
    data = cfg.data.model_copy(update={"labels": wanted, "classes": kinds})
    return cfg.model_copy(update={"data": data})


def _with_template(cfg: RunConfig) -> RunConfig:
    """The configuration with the digest of its public template, which is good to be used.

    Raises:
        UsageError: it cannot be read, or is another than the digest that is there says.
    """
    from medvae.atlas import public

    seen = public.digest(cfg)
    if cfg.atlas.public_digest not in ("", seen):
        raise UsageError(
            f"the public template {cfg.atlas.public} or its labels are not the files that "
            "atlas.public_digest stands for; put them back, or begin another run"
        )
    if seen:
        public.known(cfg)
    return cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update={"public_digest": seen})})


def plan(tenant: Tenant, cfg: RunConfig, dataset: str) -> dict[str, Any]:
    """Sigma, q, steps and epsilon of each stage, time and memory; reads no voxel.

    Raises:
        BudgetError: the plan alone is larger than the tenant's limit.
        NotFoundError: there is no such data set.
    """
    manifest = datasets.load(tenant, dataset)
    patients = datasets.subjects(manifest)
    _within_limit(tenant, cfg.privacy.epsilon)
    cfg = resolve(cfg, manifest)
    made = make_plan(cfg, len(patients))
    spent = ledger(tenant).spent(patients)
    return describe(made) | {
        "dataset": f"{manifest['name']}@{manifest['version']}",
        "patients": len(patients),
        "budget": {"limit": spent.limit, "spent": spent.spent, "remaining": spent.remaining},
        "cost": cost.estimate(cfg, made, len(manifest["volumes"])),
    }


def describe(made: Plan) -> dict[str, Any]:
    """A plan as a person reads it: each mechanism with the epsilon it would cost alone."""
    from medvae import privacy

    stages = [
        {
            "name": mechanism.name,
            "noise_multiplier": mechanism.noise_multiplier,
            "sample_rate": mechanism.sample_rate,
            "steps": mechanism.steps,
            "epsilon_alone": privacy.epsilon([mechanism], made.delta),
        }
        for mechanism in made.mechanisms
    ]
    return {
        "epsilon": made.epsilon,
        "delta": made.delta,
        "digest": made.digest().hex(),
        "stages": stages,
    }


def _within_limit(tenant: Tenant, epsilon: float) -> None:
    if epsilon > tenant.epsilon_limit:
        raise BudgetError(
            f"epsilon {epsilon:g} is above the limit {tenant.epsilon_limit:g} that tenant "
            f"{tenant.name} was created with; plan with a smaller --epsilon"
        )


def pretrain(session: Session, cfg: RunConfig, name: str, progress: Progress) -> dict[str, Any]:
    """The public stage, sealed under `name`.

    Raises:
        UsageError: a model of that name exists.
    """
    from medvae import train as stage

    tenant = session.tenant
    datasets.check_name(name)
    _new_model(tenant, name)
    with tenant.writer():
        keep = TenantCheckpoint(tenant, f"pretrain:{name}")
        artifact = stage.pretrain(
            cfg, device=str(pick(session.device)), checkpoint=keep, progress=progress
        )
        with tenant.transaction():
            tenant.put("model", artifact.to_bytes(), name=name)
            keep.forget()
        tenant.record("pretrain", model=name)
    return {"model": name, "private": False, "parameters": artifact.parameters()}


def _new_model(tenant: Tenant, name: str) -> None:
    if tenant.find("model", name) is not None:
        raise UsageError(
            f"tenant {tenant.name} has a model {name!r} already; choose another --name"
        )


def train(session: Session, cfg: RunConfig, request: Request, progress: Progress) -> dict[str, Any]:
    """Train under DP and seal the model; `resume` goes on with an interrupted run.

    The order is what makes it safe to stop anywhere: data verified, run and its secret
    sealed, plan debited durably, training with sealed checkpoints, and in one transaction
    the model in and the secret and checkpoint out.

    Raises:
        BudgetError: the plan would pass the tenant's limit for one of the patients.
        UsageError: the run exists (and `resume` was not asked), or was made differently.
        IntegrityError: a volume of the data set is damaged.
    """
    tenant = session.tenant
    datasets.check_name(request.name)
    with tenant.writer():
        try:
            return _train(session, cfg, request, progress)
        except MedvaeError as error:
            reason = type(error).__name__
            tenant.record("train", outcome="failure", model=request.name, reason=reason)
            raise


def _train(
    session: Session, cfg: RunConfig, request: Request, progress: Progress
) -> dict[str, Any]:
    from medvae import train as stage

    tenant = session.tenant
    run = _resume(tenant, request) if request.resume else _begin(session, cfg, request, progress)
    cfg, made, manifest = _reopen(tenant, run, cfg)
    if run["state"] == "done":
        return _result(run)
    # Whatever can be refused is refused before the debit: there is no refund.
    patients = SealedPatients(tenant, manifest, cfg.data)
    key = _run_key(tenant, run, made, manifest)
    init = _init(tenant, run["init"], cfg)
    device = str(pick(session.device))
    ledger(tenant).debit(run["id"], made, patients.subjects, run["dataset"])
    began = time.monotonic()
    artifact = stage.train(
        cfg,
        made,
        patients,
        key=key,
        init=init,
        checkpoint=TenantCheckpoint(tenant, run["name"]),
        device=device,
        progress=progress,
    )
    return _finish(tenant, run, artifact, time.monotonic() - began)


def _begin(
    session: Session, cfg: RunConfig, request: Request, progress: Progress
) -> dict[str, Any]:
    """Check everything that can be checked before a patient's data are used, and seal the run."""
    tenant = session.tenant
    if tenant.find("run", request.name) is not None:
        raise UsageError(
            f"run {request.name!r} was begun already; go on with --resume or choose another --name"
        )
    _new_model(tenant, request.name)
    manifest = datasets.load(tenant, request.dataset)
    label = f"{manifest['name']}@{manifest['version']}"
    _within_limit(tenant, cfg.privacy.epsilon)
    cfg = resolve(cfg, manifest)
    _init(tenant, request.init, cfg)
    SealedPatients(tenant, manifest, cfg.data)
    pick(session.device)
    made = make_plan(cfg, len(datasets.subjects(manifest)))
    ledger(tenant).check(made, datasets.subjects(manifest))
    damage = datasets.verify(tenant, label, False, progress)["damaged"]
    if damage:
        first = damage[0]
        raise IntegrityError(
            f"data set {label} is damaged: object {first['object']}: {first['reason']}; "
            "nothing was spent (see medvae verify)"
        )
    run = {
        "id": f"{request.name}#{secrets.token_hex(8)}",
        "name": request.name,
        "dataset": label,
        "init": request.init,
        "plan": made.to_json(),
        "config": cfg.model_dump(mode="json"),
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": "running",
    }
    with tenant.transaction():
        tenant.put("run", json.dumps(run).encode(), name=request.name)
        tenant.put("run-secret", secrets.token_bytes(32), name=request.name)
    tenant.record("train", model=request.name, dataset=label, epsilon=made.epsilon)
    return run


def _resume(tenant: Tenant, request: Request) -> dict[str, Any]:
    if tenant.find("run", request.name) is None:
        has = ", ".join(tenant.names("run")) or "none"
        raise NotFoundError(f"there is no run {request.name!r} to resume; there are: {has}")
    run: dict[str, Any] = json.loads(tenant.get_named("run", request.name))
    asked = datasets.resolve(tenant, request.dataset)
    wanted = request.dataset.partition("@")
    if run["dataset"] != asked and (wanted[1] or run["dataset"].rpartition("@")[0] != wanted[0]):
        raise UsageError(
            f"run {request.name!r} was begun on data set {run['dataset']}, not on {asked}; "
            "resume with the same data set or choose another --name"
        )
    if request.init is not None and request.init != run["init"]:
        raise UsageError(
            f"run {request.name!r} was begun from {run['init'] or 'the shipped weights'}, not from "
            f"{request.init}; resume without --init or choose another --name"
        )
    return run


def _reopen(
    tenant: Tenant, run: dict[str, Any], cfg: RunConfig
) -> tuple[RunConfig, Plan, dict[str, Any]]:
    """The configuration, plan and manifest that the run was begun with.

    Compute knobs may differ; whatever is public and could change the result may not.
    """
    from medvae.config import RunConfig
    from medvae.privacy import Plan

    manifest = datasets.load(tenant, run["dataset"])
    # What a run of an earlier version does not say is as the data set declares.
    begun = _declared(RunConfig.model_validate(run["config"]), manifest)
    cfg = _declared(cfg, manifest)
    if cfg.prior.kind == "auto":
        # What auto stands for may be another today; the run's plan is made for what it was then.
        kind = {"kind": begun.prior.kind}
        cfg = cfg.model_copy(update={"prior": cfg.prior.model_copy(update=kind)})
    if run["state"] != "done" or _template_there(cfg):
        # Of a finished run nothing is computed any more: its template may be gone.
        cfg = _with_template(cfg)
    elif not cfg.atlas.public_digest:
        digest = {"public_digest": begun.atlas.public_digest}
        cfg = cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update=digest)})
    if begun.public() != cfg.public():
        key = _differing(begun, cfg)
        if key == "atlas.public_digest":
            raise UsageError(
                f"the public template or its labels are not the files that run {run['name']!r} was "
                "begun with; put them back, or choose another --name"
            )
        raise UsageError(
            f"run {run['name']!r} was begun with another {key}; "
            "resume with the same configuration or choose another --name"
        )
    return cfg, Plan.from_json(run["plan"]), manifest


def _template_there(cfg: RunConfig) -> bool:
    named = (cfg.atlas.public, cfg.atlas.public_labels)
    return all(Path(name).is_file() for name in named if name not in (None, "none", "mni152"))


def _differing(one: RunConfig, other: RunConfig) -> str:
    """The first key that two configurations differ in, as `--set` names it."""
    first, second = one.public(), other.public()
    for section, value in first.items():
        if value == second[section]:
            continue
        if not isinstance(value, dict):
            return str(section)
        return next(f"{section}.{key}" for key in value if value[key] != second[section][key])
    return "configuration"


def _run_key(tenant: Tenant, run: dict[str, Any], made: Plan, manifest: dict[str, Any]) -> bytes:
    from medvae.privacy import run_key

    try:
        secret = tenant.get_named("run-secret", run["name"])
    except NotFoundError as error:
        raise IntegrityError(
            f"run {run['name']!r} has lost its secret and cannot go on; begin another"
        ) from error
    return run_key(secret, made.digest(), datasets.digest(manifest), "train")


def _init(tenant: Tenant, name: str | None, cfg: RunConfig) -> Artifact | None:
    """The public model to start from. One trained on patients would spend twice: refused."""
    if name is None:
        return None
    from medvae.api.models import load

    artifact = load(tenant, name)
    if artifact.facts["kind"] != "public":
        raise UsageError(
            f"--init {name} was trained on patients; start from a model made by medvae pretrain"
        )
    if artifact.facts["model"]["config"] != cfg.model.model_dump(mode="json"):
        raise UsageError(
            f"--init {name} is another network than the configuration's section model; "
            "pretrain with this configuration, or set model.* to what it was made with"
        )
    return artifact


def _finish(
    tenant: Tenant, run: dict[str, Any], artifact: Artifact, seconds: float
) -> dict[str, Any]:
    """In one transaction: the model in, the noise's secret and the checkpoint gone."""
    made = json.loads(run["plan"])
    run = run | {
        "state": "done",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "epsilon": made["epsilon"],
        "delta": made["delta"],
        "steps": sum(mechanism["steps"] for mechanism in made["mechanisms"]),
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
    return _result(run)


def _result(run: dict[str, Any]) -> dict[str, Any]:
    keys = ("epsilon", "delta", "steps", "dataset", "seconds")
    return {"model": run["name"]} | {key: run[key] for key in keys}


def budget(tenant: Tenant, dataset: str | None) -> dict[str, Any]:
    """Spent and left for the patient who has spent most (of one data set, if named)."""
    book = ledger(tenant)
    who = None if dataset is None else datasets.subjects(datasets.load(tenant, dataset))
    spent = book.spent(who)
    return {
        "limit": spent.limit,
        "spent": spent.spent,
        "remaining": spent.remaining,
        "delta": spent.delta,
        "events": book.history(who),
    }
