"""Plan a private run: what each stage would cost, before a patient's data are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medvae.api import anatomy_choice, copies, cost, datasets, expected, room, settle
from medvae.api.accounts import ledger
from medvae.api.coverage import of_run
from medvae.api.patients import check_modality
from medvae.api.records import Manifest, VolumeEntry
from medvae.api.results import BudgetState, Coefficients, PlanResult, StagePlan
from medvae.errors import AccessError, BudgetError, UsageError
from medvae.options.flags import PathLike
from medvae.options.train import PlanOptions

if TYPE_CHECKING:
    from medvae.config import RunConfig
    from medvae.privacy import Plan
    from medvae.vault import Tenant

# A cohort below it takes part only when somebody says so.
MIN_PATIENTS = 20


def configuration(
    path: PathLike, overrides: Sequence[str], epsilon: float | None = None
) -> RunConfig:
    """A configuration file with overrides ("key=value"), and epsilon where one is given.

    Raises:
        UsageError: there is no such file, or a key or a value is wrong.
    """
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
    written = configuration(options.config, options.overrides, options.epsilon)
    manifest = datasets.load(tenant, options.dataset)
    patients = datasets.subjects(manifest)
    cfg = resolved(tenant, written, manifest, options.small_cohort)
    planned = make_plan(tenant, cfg, len(patients))
    spent = ledger(tenant).spent(patients)
    return PlanResult(
        epsilon=planned.epsilon,
        delta=planned.delta,
        digest=planned.digest().hex(),
        stages=_stages(planned),
        dataset=f"{manifest['name']}@{manifest['version']}",
        patients=len(patients),
        atlas_alone_below=written.atlas.alone_below if gives_all_to_atlas(written, cfg) else None,
        anatomy=cfg.anatomy.library if cfg.anatomy.used else None,
        budget=BudgetState(spent.limit, spent.spent, spent.remaining),
        cost=cost.estimate(cfg, planned, manifest["volumes"]),
        unit=cfg.privacy.unit or "patient",
        coverage=of_run(manifest["volumes"], cfg),
        sites=cfg.data.sites or (),
        anatomy_if_named=anatomy_choice.if_named(tenant, cfg),
        maps_if_spaced=anatomy_choice.if_spaced(written, cfg),
        expected=expected.of_plan(tenant, cfg, len(patients), planned.epsilon),
        shape_source=anatomy_choice.shape_source(cfg),
        coefficients=_coefficients(cfg, planned),
        memory_lacks=_memory_lacks(manifest["volumes"], cfg),
        spacing_known=cfg.knows_voxels,
        channels=cfg.data.channels,
    )


def _memory_lacks(volumes: Sequence[VolumeEntry], cfg: RunConfig) -> str | None:
    """Why `train` would refuse here; a plan may be made on another machine than its training."""
    try:
        room.threads(volumes, cfg)
    except AccessError as error:
        return str(error)
    return None


def _coefficients(cfg: RunConfig, planned: Plan) -> Coefficients | None:
    from medvae.train import cosines

    return Coefficients(*cosines.counts(cfg, planned)) if cfg.cosines.share > 0 else None


def resolved(tenant: Tenant, cfg: RunConfig, manifest: Manifest, small_cohort: bool) -> RunConfig:
    """The configuration with what follows from the data set's declarations and the public library.

    Raises:
        UsageError: the cohort is too small or of another modality, or the template or library
            cannot be used.
        BudgetError: epsilon is above the tenant's limit.
    """
    _within_limit(tenant, cfg.privacy.epsilon)
    _check_cohort(manifest, small_cohort)
    cfg = settle.resolve(tenant, cfg, manifest)
    check_modality(cfg.data, manifest)
    copies.check_template(tenant, cfg)
    anatomy_choice.check(tenant, cfg)
    return cfg


def gives_all_to_atlas(written: RunConfig, settled: RunConfig) -> bool:
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
