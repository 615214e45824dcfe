"""Pretrain and train: the private run from its configuration to its sealed model."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medvae import space
from medvae.api import (
    agreement,
    anatomy_choice,
    cost,
    crew,
    datasets,
    integrity,
    invitations,
    planning,
    room,
    runs,
    settle,
)
from medvae.api.accounts import ledger
from medvae.api.coverage import cut_off
from medvae.api.device import pick
from medvae.api.patients import SealedPatients, TenantCheckpoint
from medvae.api.records import RunRecord
from medvae.api.results import PretrainResult, TrainResult
from medvae.errors import BudgetError, IntegrityError, NotFoundError, UsageError
from medvae.options.train import PretrainOptions, TrainOptions
from medvae.progress import Progress, notify

if TYPE_CHECKING:
    from medvae.api.context import TenantContext
    from medvae.api.crew import Crew
    from medvae.config import RunConfig
    from medvae.model import Artifact
    from medvae.privacy import Plan
    from medvae.vault import Tenant


def pretrain(context: TenantContext, options: PretrainOptions) -> PretrainResult:
    """The public stage, sealed under a name.

    Raises:
        UsageError: a model of that name exists, or the anatomy entry shows an ingested patient.
    """
    from medvae import train as stage

    cfg = planning.configuration(options.config, options.overrides)
    tenant, name = context.tenant, options.name
    datasets.check_name(name)
    if cfg.cosines.share > 0:
        raise UsageError("pretrain trains a network, and the cosine model has none: train it")
    _new_model(tenant, name)
    cfg = anatomy_choice.for_public(tenant, cfg)
    anatomy_choice.check(tenant, cfg)
    anatomy = anatomy_choice.of_run(tenant, cfg)
    with tenant.writer():
        keep = TenantCheckpoint(tenant, f"pretrain:{name}")
        artifact = stage.pretrain(
            cfg,
            device=str(pick(context.device)),
            checkpoint=keep,
            progress=options.progress,
            anatomy=anatomy,
        )
        with tenant.transaction():
            tenant.put("model", artifact.to_bytes(), name=name)
            keep.forget()
        tenant.record("pretrain", model=name)
    return PretrainResult(name, False, artifact.parameters())


def _new_model(tenant: Tenant, name: str) -> None:
    if tenant.find("model", name) is not None:
        raise UsageError(
            f"tenant {tenant.name} has a model {name!r} already; choose another --name"
        )


def train(context: TenantContext, options: TrainOptions) -> TrainResult:
    """Train under DP and seal the model; `resume` goes on with an interrupted run.

    The order is what makes it safe to stop anywhere: data verified, run and its secret
    sealed, all processes ready, plan debited durably, training with sealed checkpoints, and in
    one transaction the model in and the secret and checkpoint out.

    Raises:
        BudgetError: the plan would pass the tenant's limit for one of the patients, or with the
            trainings behind `init`.
        UsageError: the run exists (and `resume` was not asked), or was made differently; fewer
            than 20 patients without `small_cohort`; as `crew.gathered`.
        IntegrityError: a volume of the data set is damaged, or another process does not fit.
        AccessError: another process has ended, or this machine lacks memory or disk.
    """
    from medvae.api.joining import asked

    cfg = planning.configuration(options.config, options.overrides, options.epsilon)
    tenant = context.tenant
    datasets.check_name(options.name)
    how = asked(tenant, options)
    for sentence in invitations.notes_of_left(how.invitation if how is not None else None):
        notify(options.progress, sentence)
    with crew.gathered(options.workers, options.progress, how) as others, tenant.writer():
        try:
            return _train(context, cfg, options, others)
        except Exception as error:
            # By its kind alone: an error's own text may quote a patient.
            reason = type(error).__name__
            tenant.record("train", outcome="failure", model=options.name, reason=reason)
            raise


def _train(
    context: TenantContext, cfg: RunConfig, options: TrainOptions, others: Crew
) -> TrainResult:
    from medvae import train as stage

    tenant, progress = context.tenant, options.progress
    run = _resume(tenant, options) if options.resume else _begin(context, cfg, options, others)
    cfg, planned, manifest = settle.reopen(tenant, run, cfg)
    if run["state"] == "done":
        others.end()
        return runs.result(run, ())
    # Whatever can be refused is refused before the debit: there is no refund.
    patients = SealedPatients(tenant, manifest, cfg.data)
    key = runs.run_key(tenant, run, planned, manifest)
    init = runs.init(tenant, run["init"], cfg, planned)
    anatomy = anatomy_choice.of_run(tenant, cfg)
    device = str(pick(context.device))
    space.check(tenant.root, cost.stored_bytes(cfg), "training")
    here, of = others.here, options.workers or others.here
    room.threads(manifest["volumes"], cfg, here, of, resumed=options.resume)
    checkpoint = TenantCheckpoint(tenant, run["name"])
    state = agreement.state_of(planned.digest(), datasets.digest(manifest), cfg, checkpoint.load())
    ranks = others.ready(tenant, crew.job(tenant, run, cfg, device, state), planned.patients)
    # Once more, for by now the others have loaded all that they will.
    threads = room.threads(manifest["volumes"], cfg, here, of, resumed=options.resume)
    unusable = patients.check(progress, ranks)
    ledger(tenant).debit(run["id"], planned, patients.subjects, run["dataset"])
    others.go()
    began = time.monotonic()
    artifact = stage.train(
        cfg,
        planned,
        patients,
        key=key,
        init=init,
        anatomy=anatomy,
        checkpoint=checkpoint,
        device=device,
        progress=progress,
        ranks=ranks,
        threads=threads,
    )
    others.end()
    run = runs.finish(tenant, run, artifact, time.monotonic() - began)
    return runs.result(run, runs.notes_of(unusable, cut_off(manifest["volumes"], cfg)))


def _begin(
    context: TenantContext, cfg: RunConfig, options: TrainOptions, others: Crew
) -> RunRecord:
    """Check everything that can be checked before a patient's data are used, and seal the run."""
    from medvae.train import continuing

    tenant, progress = context.tenant, options.progress
    _new_run(tenant, options.name)
    _new_model(tenant, options.name)
    manifest = datasets.load(tenant, options.dataset)
    written, cfg = cfg, planning.resolved(tenant, cfg, manifest, options.small_cohort)
    if planning.gives_all_to_atlas(written, cfg):
        progress.start("budget", 1)
        progress.finish("all of it for the atlas (atlas.alone_below)")
    init = runs.init(tenant, options.init, cfg)
    SealedPatients(tenant, manifest, cfg.data)
    pick(context.device)
    constants = continuing.constants(options.init, init)
    planned = planning.make_plan(tenant, cfg, len(datasets.subjects(manifest)), constants)
    _check_ancestry(tenant, options.init, init, planned)
    ledger(tenant).check(planned, datasets.subjects(manifest))
    room.threads(manifest["volumes"], cfg, others.here)
    label = f"{manifest['name']}@{manifest['version']}"
    _check_undamaged(tenant, label, progress)
    return _sealed_run(tenant, options, label, planned, cfg)


def _new_run(tenant: Tenant, name: str) -> None:
    if tenant.find("run", name) is not None:
        raise UsageError(
            f"run {name!r} was begun already: go on with it by --resume, which spends "
            "nothing more (another --name would be charged again)"
        )


def _check_undamaged(tenant: Tenant, label: str, progress: Progress) -> None:
    damage = integrity.verify(tenant, label, False, progress).damaged
    if damage:
        first = damage[0]
        raise IntegrityError(
            f"data set {label} is damaged: object {first.object}: {first.reason}; "
            "nothing was spent (see medvae verify)"
        )


def _sealed_run(
    tenant: Tenant, options: TrainOptions, label: str, planned: Plan, cfg: RunConfig
) -> RunRecord:
    """The run's record and its secret, both in the vault."""
    run: RunRecord = {
        "id": f"{options.name}#{secrets.token_hex(8)}",
        "name": options.name,
        "dataset": label,
        "init": options.init,
        "plan": planned.to_json(),
        "config": cfg.model_dump(mode="json"),
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": "running",
    }
    with tenant.transaction():
        tenant.put("run", json.dumps(run).encode(), name=options.name)
        tenant.put("run-secret", secrets.token_bytes(32), name=options.name)
    tenant.record("train", model=options.name, dataset=label, epsilon=planned.epsilon)
    return run


def _check_ancestry(
    tenant: Tenant, name: str | None, earlier: Artifact | None, planned: Plan
) -> None:
    """Refuse what could never be released, before it is paid for.

    A release states the composition of all trainings behind its model, whoever took part in which.

    Raises:
        BudgetError: it would be above the tenant's limit.
    """
    from medvae.train import continuing

    ancestors = continuing.ancestry(earlier, "")
    cost = continuing.composed(planned, ancestors)
    if ancestors and cost > tenant.epsilon_limit:
        raise BudgetError(
            f"with the trainings behind --init {name} the model would have epsilon {cost:.4g}, "
            f"above the limit {tenant.epsilon_limit:g} of tenant {tenant.name}, and could not be "
            "released; lower --epsilon, or train without --init"
        )


def _resume(tenant: Tenant, options: TrainOptions) -> RunRecord:
    if tenant.find("run", options.name) is None:
        has = ", ".join(tenant.names("run")) or "none"
        raise NotFoundError(f"there is no run {options.name!r} to resume; there are: {has}")
    run: RunRecord = json.loads(tenant.get_named("run", options.name))
    label = datasets.resolve(tenant, options.dataset)
    named = options.dataset.partition("@")
    if run["dataset"] != label and (named[1] or run["dataset"].rpartition("@")[0] != named[0]):
        raise UsageError(
            f"run {options.name!r} was begun on data set {run['dataset']}, not on {label}; "
            "resume with that data set, which spends nothing more"
        )
    if options.init is not None and options.init != run["init"]:
        raise UsageError(
            f"run {options.name!r} was begun from {run['init'] or 'the shipped weights'}, not from "
            f"{options.init}; resume without --init, which spends nothing more"
        )
    return run
