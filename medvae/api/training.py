"""Plan, pretrain, train: the private run from its plan to its sealed model."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medvae import space
from medvae.api import (
    anatomy_choice,
    copies,
    cost,
    crew,
    datasets,
    expected,
    integrity,
    runs,
    settle,
)
from medvae.api.accounts import ledger
from medvae.api.coverage import cut_off, of_run
from medvae.api.device import pick
from medvae.api.patients import SealedPatients, TenantCheckpoint, check_modality
from medvae.api.records import Manifest, RunRecord
from medvae.api.results import (
    BudgetState,
    PlanResult,
    PretrainResult,
    StagePlan,
    TrainResult,
)
from medvae.errors import BudgetError, IntegrityError, NotFoundError, UsageError
from medvae.options.flags import PathLike
from medvae.options.train import PlanOptions, PretrainOptions, TrainOptions
from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.api.context import TenantContext
    from medvae.api.crew import Crew
    from medvae.config import RunConfig
    from medvae.model import Artifact
    from medvae.privacy import Plan
    from medvae.vault import Tenant

# A cohort below it takes part only when somebody says so.
MIN_PATIENTS = 20


def _config(path: PathLike, overrides: Sequence[str], epsilon: float | None = None) -> RunConfig:
    from medvae.config_files import load_config

    settings = list(overrides)
    if epsilon is not None:
        settings.append(f"privacy.epsilon={float(epsilon)!r}")
    return load_config(path, settings)


def make_plan(
    tenant: Tenant, cfg: RunConfig, patients: int, constants: Mapping[str, object] | None = None
) -> Plan:
    """The plan of a run: made of public constants and the public number of patients alone.

    Its delta is the tenant's: one for all plans, accounts and cards.

    constants: bound into the plan beside the configuration.

    Raises:
        UsageError: epsilon is no budget, delta is another than the tenant's or above
            1/(10 `patients`), or nothing is to be trained.
    """
    from medvae import privacy
    from medvae.train import stage_requests

    if cfg.privacy.delta not in (None, tenant.delta):
        raise UsageError(
            f"privacy.delta is {cfg.privacy.delta:g}, but tenant {tenant.name} keeps its accounts "
            f"at {tenant.delta:g}; leave privacy.delta out, or create a tenant with that --delta"
        )
    return privacy.make_plan(
        [privacy.StageRequest(*request) for request in stage_requests(cfg, patients)],
        patients=patients,
        epsilon=cfg.privacy.epsilon,
        delta=tenant.delta,
        constants=cfg.public() | dict(constants or {}),
    )


def plan(tenant: Tenant, options: PlanOptions) -> PlanResult:
    """Sigma, q, steps and epsilon of each stage, time and memory.

    Reads no voxel of the cohort, but to compare a public template with scans that are like it.

    Raises:
        UsageError: fewer than 20 patients without `small_cohort`; else as `make_plan`.
        BudgetError: the plan alone is larger than the tenant's limit.
        NotFoundError: there is no such data set.
    """
    cfg = _config(options.config, options.overrides, options.epsilon)
    manifest = datasets.load(tenant, options.dataset)
    patients = datasets.subjects(manifest)
    written, cfg = cfg, _resolved(tenant, cfg, manifest, options.small_cohort)
    planned = make_plan(tenant, cfg, len(patients))
    spent = ledger(tenant).spent(patients)
    return PlanResult(
        epsilon=planned.epsilon,
        delta=planned.delta,
        digest=planned.digest().hex(),
        stages=_stages(planned),
        dataset=f"{manifest['name']}@{manifest['version']}",
        patients=len(patients),
        atlas_alone_below=written.atlas.alone_below if _alone(written, cfg) else None,
        anatomy=cfg.anatomy.library if cfg.anatomy.used else None,
        budget=BudgetState(spent.limit, spent.spent, spent.remaining),
        cost=cost.estimate(cfg, planned, len(manifest["volumes"])),
        unit=cfg.privacy.unit or "patient",
        coverage=of_run(manifest["volumes"], cfg),
        sites=cfg.data.sites or (),
        anatomy_if_named=anatomy_choice.if_named(tenant, cfg),
        expected=expected.of_plan(tenant, cfg, len(patients), planned.epsilon),
    )


def _resolved(tenant: Tenant, cfg: RunConfig, manifest: Manifest, small_cohort: bool) -> RunConfig:
    """The configuration with what follows from the data set's declarations and the public library.

    Raises:
        UsageError: the cohort is too small or of another modality, or the template or library
            cannot be used.
        BudgetError: epsilon is above the tenant's limit.
    """
    _within_limit(tenant, cfg.privacy.epsilon)
    _check_cohort(manifest, small_cohort)
    resolved = settle.resolve(tenant, cfg, manifest)
    check_modality(resolved.data, manifest)
    copies.check_template(tenant, resolved)
    anatomy_choice.check(tenant, resolved)
    return resolved


def _alone(written: RunConfig, settled: RunConfig) -> bool:
    """Whether a small cohort or budget has left the atlas more than was asked for."""
    return settled.atlas.share > written.atlas.share


def _stages(plan: Plan) -> tuple[StagePlan, ...]:
    """Each mechanism with the epsilon that it would cost alone."""
    from medvae import privacy

    return tuple(
        StagePlan(
            name=mechanism.name,
            title=mechanism.title,
            noise_multiplier=mechanism.noise_multiplier,
            sample_rate=mechanism.sample_rate,
            steps=mechanism.steps,
            epsilon_alone=privacy.epsilon([mechanism], plan.delta),
        )
        for mechanism in plan.mechanisms
    )


def _within_limit(tenant: Tenant, epsilon: float) -> None:
    if epsilon > tenant.epsilon_limit:
        raise BudgetError(
            f"epsilon {epsilon:g} is above the limit {tenant.epsilon_limit:g} that tenant "
            f"{tenant.name} was created with; plan with a smaller --epsilon"
        )


def _check_cohort(manifest: Manifest, small_cohort: bool) -> None:
    """So few patients are lost in the noise, and each of them counts for much of the result."""
    patients = len(datasets.subjects(manifest))
    if patients < MIN_PATIENTS and not small_cohort:
        raise UsageError(
            f"data set {manifest['name']} has {patients} patients, fewer than {MIN_PATIENTS}: "
            "little is learnt from so few and each weighs much in it; ingest more, or say "
            "--small-cohort to go on all the same"
        )


def pretrain(context: TenantContext, options: PretrainOptions) -> PretrainResult:
    """The public stage, sealed under a name.

    Raises:
        UsageError: a model of that name exists, or the anatomy entry shows an ingested patient.
    """
    from medvae import train as stage

    cfg = _config(options.config, options.overrides)
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
        AccessError: another process has ended.
    """
    cfg = _config(options.config, options.overrides, options.epsilon)
    tenant = context.tenant
    datasets.check_name(options.name)
    with crew.gathered(options.workers, options.progress) as others, tenant.writer():
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
    run = _resume(tenant, options) if options.resume else _begin(context, cfg, options)
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
    checkpoint = TenantCheckpoint(tenant, run["name"])
    state = crew.state_of(planned.digest(), datasets.digest(manifest), cfg, checkpoint.load())
    ranks = others.ready(tenant, crew.job(tenant, run, cfg, device, state), planned.patients)
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
    )
    others.end()
    run = runs.finish(tenant, run, artifact, time.monotonic() - began)
    return runs.result(run, runs.notes_of(unusable, cut_off(manifest["volumes"], cfg)))


def _begin(context: TenantContext, cfg: RunConfig, options: TrainOptions) -> RunRecord:
    """Check everything that can be checked before a patient's data are used, and seal the run."""
    from medvae.train import continuing

    tenant, progress = context.tenant, options.progress
    _new_run(tenant, options.name)
    _new_model(tenant, options.name)
    manifest = datasets.load(tenant, options.dataset)
    written, cfg = cfg, _resolved(tenant, cfg, manifest, options.small_cohort)
    if _alone(written, cfg):
        progress.start("budget", 1)
        progress.finish("all of it for the atlas (atlas.alone_below)")
    init = runs.init(tenant, options.init, cfg)
    SealedPatients(tenant, manifest, cfg.data)
    pick(context.device)
    constants = continuing.constants(options.init, init)
    planned = make_plan(tenant, cfg, len(datasets.subjects(manifest)), constants)
    _check_ancestry(tenant, options.init, init, planned)
    ledger(tenant).check(planned, datasets.subjects(manifest))
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
