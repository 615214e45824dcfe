"""Evaluation and attacks: figures on private patients, which stay in the tenant."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medvae import modality as modalities
from medvae.api import anatomy_choice, datasets, models
from medvae.api.baselines import public_volumes
from medvae.api.records import Manifest
from medvae.api.results import (
    AuditResult,
    EngineAudit,
    EngineFinding,
    EvaluateResult,
    Finding,
    Metric,
)
from medvae.cine import is_cine
from medvae.errors import NotFoundError, UsageError
from medvae.options.evaluate import EvaluateOptions
from medvae.options.generate import GenerateOptions
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from medvae.api.context import TenantContext
    from medvae.config import DataConfig
    from medvae.evaluate import Cohort, Options
    from medvae.model import Artifact
    from medvae.vault import Tenant
    from medvae.volume import Volume


# Files of a release beside its images.
_PAPERS = {".md", ".html", ".pem", ".sig", ".png"}


def real_volumes(context: TenantContext, ref: str) -> Iterator[tuple[str, Volume]]:
    """(pseudonym, volume) of a data set, opened one at a time."""
    manifest = datasets.load(context.tenant, ref)
    for entry in manifest["volumes"]:
        yield entry["subject"], datasets.open_volume(context.tenant, entry)


def _synthetic(
    context: TenantContext, what: str, n: int, progress: Progress, against: str | None = None
) -> tuple[Iterator[Volume], Artifact | None]:
    """Volumes of a model of the tenant, and the model; or of a folder of NIfTI files.

    against: the data set beside it, whose channels the folder's are, and whose modality where
        numbers cannot say.
    """
    if context.tenant.find("model", what) is not None:
        artifact = models.load(context.tenant, what)
        options = GenerateOptions(what, n, Path(), seed=0, progress=progress)
        return models.draw(context, artifact, options)[1], artifact
    if Path(what).is_dir():
        beside = None if against is None else datasets.load(context.tenant, against)
        return _folder(Path(what), beside), None
    raise NotFoundError(f"{what!r} is neither a model of tenant {context.tenant.name} nor a folder")


def _undeclared(manifest: Manifest) -> str | None:
    """The one modality of a data set, where a file does not show that it is of this modality.

    For channels of several modalities, their names with commas, as in `--modality`.
    """
    modality_names = {datasets.modalities_in(entry) for entry in manifest["volumes"]}
    (names,) = modality_names if len(modality_names) == 1 else ((),)
    if len(names) > 1:
        return ",".join(names)
    name = names[0] if names else None
    return name if name is not None and modalities.get(name).recognised is None else None


def _folder(folder: Path, beside: Manifest | None) -> Iterator[Volume]:
    """The volumes of a folder, read as those of the data set beside it were."""
    from medvae import ingest as stage

    modality = None if beside is None else _undeclared(beside)
    channels = () if beside is None else beside["volumes"][0].get("channels", ())
    frames = len(channels) if is_cine(channels) else None
    if frames:
        channels = ()
    planar = modality in modalities.names() and modalities.get(str(modality)).planar
    rows = _rows(folder)
    # A release of pictures has pictures of itself beside them.
    inside = folder / "images"
    if planar and inside.is_dir():
        folder = inside
    channels = () if planar else channels
    for item in stage.read([folder], modality=modality, channels=channels, frames=frames):
        if isinstance(item, stage.Quarantined):
            if Path(item.source).suffix in _PAPERS:
                continue
            raise UsageError(f"{item.source}: {item.reason}")
        meta = item.volume.meta | rows.get(item.subject, {})
        yield replace(item.volume, meta=meta)


def _rows(folder: Path) -> dict[str, dict[str, int | str]]:
    """Subject -> its class and site, of a folder that `generate` or `release create` wrote."""
    for name, comma, column in (
        ("subjects.csv", ",", "subject"),
        ("participants.tsv", "\t", "participant_id"),
    ):
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter=comma))
            return {
                str(row[column]).removeprefix("sub-"): _facts(row)
                for row in rows
                if row.get(column)
            }
    return {}


def _facts(row: Mapping[str, str | None]) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    if (number := row.get("class") or "").isdecimal() and len(number) <= 9:
        found["class"] = int(number)
    if (site := row.get("site") or "n/a") != "n/a":
        found["site"] = site
    return found


def evaluate(context: TenantContext, options: EvaluateOptions) -> EvaluateResult:
    """Fidelity, diversity, downstream use of synthetic volumes beside a data set's."""
    from medvae import evaluate as stage

    what, against, progress = options.what, options.against, options.progress
    volumes, artifact = _synthetic(context, what, options.n, progress, against)
    patients = real_volumes(context, against)
    baselines = {}
    if artifact is None:
        metrics = _figures(volumes, list(patients), None, options)
    else:
        data = artifact.config().data
        real = stage.gather(patients, data, _options(options), progress)
        metrics = _figures(volumes, real, artifact, options)
        anatomy = anatomy_choice.of_model(context.tenant, artifact) if options.baselines else None
        if anatomy is not None:
            for name, public in public_volumes(anatomy, options.n, progress):
                baselines[name] = _figures(public, real, None, options, data)
    # The card of a release counts these (`looks`).
    label = datasets.resolve(context.tenant, against)
    model = None if artifact is None else what
    context.tenant.record("evaluate", model=model, what=Path(what).name, dataset=label)
    return EvaluateResult(
        what=what,
        against=label,
        metrics=metrics,
        releasable=False,
        baselines=baselines,
        not_measured=_not_measured(metrics) if options.downstream else (),
    )


def _not_measured(metrics: Mapping[str, Metric]) -> tuple[str, ...]:
    """What of downstream use these sets do not allow, each with the reason."""
    reasons = {
        "segmentation_dice": "segmentation: takes a label map in every volume of both sets, of "
        "labels that were declared",
        "classification_auc": "classification: takes a class in every volume of both sets, two "
        "or more, and the same ones",
    }
    return tuple(reason for name, reason in reasons.items() if name not in metrics)


def _options(options: EvaluateOptions) -> Options:
    from medvae.evaluate import Options

    return Options(downstream=options.downstream)


def _figures(
    volumes: Iterable[Volume],
    real: list[tuple[str, Volume]] | Cohort,
    artifact: Artifact | None,
    options: EvaluateOptions,
    data: DataConfig | None = None,
) -> dict[str, Metric]:
    """data: the grid; None: the model's, or that of the volumes."""
    from medvae import evaluate as stage

    figures = stage.evaluate(
        volumes,
        real,
        data=data if artifact is None else artifact.config().data,
        artifact=artifact,
        options=_options(options),
        progress=options.progress,
    )
    return {
        name: Metric(figure, figure["value"], figure.get("real"), figure.get("extractor"))
        for name, figure in figures.items()
    }


def looks(tenant: Tenant) -> dict[str, int]:
    """How often figures on patients of the tenant were looked at, by verb, from the audit log.

    Whoever the patients were: the count of looks at data sets that share one with a model's would
    reveal to the readers of its card which data sets do.
    """
    counts = {"evaluate": 0, "audit": 0}
    for event in tenant.events():
        if event["event"] in counts and event["outcome"] == "success":
            counts[event["event"]] += 1
    return counts


def audit(
    context: TenantContext, model: str, against: str | None, n: int, progress: Progress
) -> AuditResult:
    """Attack a model with the patients that it was trained on.

    `against` names a data set with patients that it never saw (those of the training set
    are left out); without it membership cannot be measured, and is said not to be. `power` is the
    least that each attack would have found, `not_attacked` what none of them reaches.
    """
    from medvae import audit as stage

    ref = models.patients_of(context.tenant, model)
    members = list(real_volumes(context, ref))
    subjects = {subject for subject, _ in members}
    others: list[tuple[str, Volume]] = []
    if against is not None:
        others = [(s, v) for s, v in real_volumes(context, against) if s not in subjects]
    volumes, artifact = _synthetic(context, model, n, progress)
    assert artifact is not None  # A run's record led to it.
    grid = artifact.config().data
    report = stage.audit(
        volumes,
        members,
        data=grid,
        others=others,
        model=artifact,
        anatomy=anatomy_choice.of_model(context.tenant, artifact),
        progress=progress,
    )
    # An audit that left an attack out is not to be read as one that did not.
    left_out = list(report.attacks["not_run"])
    context.tenant.record("audit", model=model, dataset=ref, passed=report.passed, not_run=left_out)
    return AuditResult(
        model=model,
        members=ref,
        against=against,
        attacks=report.attacks,
        passed=report.passed,
        findings=tuple(Finding(**vars(finding)) for finding in report.findings),
        not_run=report.not_run,
        not_attacked=report.not_attacked,
        power={finding.name: finding.power for finding in report.findings},
        release_ok=False,
    )


def audit_engine(progress: Progress = SILENT) -> EngineAudit:
    """Attack the private mechanisms with canaries: no bound may exceed what is claimed.

    One-shot mechanisms and DP-SGD in bulk, their lattice, sampling and resuming (see
    `medvae.privacy.audit`); needs no vault and no patient.
    """
    from medvae.privacy.audit import audit_engine as attack

    report = attack(progress=progress)
    findings = tuple(EngineFinding(**vars(finding)) for finding in report.findings)
    return EngineAudit(report.passed, report.delta, findings)
