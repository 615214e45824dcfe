"""Tenant, ingest, verify, plan, pretrain, train, generate, evaluate, release, verify.

Nothing is shortened: every stage is the one of the API. What is finished is found again,
so that running it after Ctrl-C goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medvae import api
from medvae.api.anatomy_fetch import SAMSEG
from medvae.api.results import Metric, ReleaseResult, Result, StagePlan, TrainResult
from medvae.demo import sources
from medvae.demo.sources import Sources
from medvae.errors import IntegrityError, NotFoundError, UsageError
from medvae.progress import Progress

TENANT = "demo-hospital"
DATASET = "heads"
PUBLIC = "public"
MODEL = "heads-private"
LIBRARY = "samseg"
VOLUMES = 24
PATIENTS, TWICE = 60, 6
QUICK_PATIENTS, QUICK_TWICE = 20, 1

# Where the public heads were not fetched: brains alone, by an atlas of the patients.
BRAINS = (
    "data.size=[48, 56, 48]",
    "data.spacing=[4.0, 4.0, 4.0]",
    "anatomy.library=none",
    "anatomy.share=0",
    "anatomy.spacing=null",
    "atlas.share=0.6",
    "atlas.samples=24",
    "finetune.share=0.1",
    "prior.share=0.3",
)
# The same path with smaller numbers, for tests.
QUICK = (
    "model.preset=tiny",
    "pretrain.steps=10",
    "atlas.samples=8",
    "atlas.steps=5",
    "finetune.steps=4",
    "prior.rank=4",
)
QUICK_HEADS = ("anatomy.spacing=[4.0, 4.0, 4.0]",)
QUICK_BRAINS = ("data.size=[24, 28, 24]", "data.spacing=[8.0, 8.0, 8.0]")


@dataclass(frozen=True)
class DemoResult(Result):
    """What the demo made.

    `plan` is None where an earlier demo had trained the model already; `heads` says whether the
    public heads were there (without them brains alone are drawn).
    """

    release: Path
    report: Path
    epsilon: float
    delta: float
    patients: int
    volumes: int
    plan: tuple[StagePlan, ...] | None
    metrics: Mapping[str, Metric]
    heads: bool


def run(
    out: Path, *, quick: bool, device: str, progress: Progress, wheels: Path | None = None
) -> DemoResult:
    """Make the cohort and take it to a verified release in `out`.

    wheels: folder with the public heads' wheels; None: where `sources.fetch` keeps them.

    Raises:
        NotFoundError: `wheels` lacks one of them.
        UsageError: an earlier demo in `out` drew the other anatomy.
    """
    wheel_files = sources.find(wheels)
    if wheels is not None and wheel_files is None:
        patterns = f"{SAMSEG.pattern} and {sources.PYDEFACE.pattern}"
        raise NotFoundError(f"{wheels} does not hold {patterns}; pip download --no-deps gets them")
    config = _config(out)
    smaller = _overrides(wheel_files is not None, quick)
    session = _tenant(out, device)
    _library(out, wheel_files, progress)
    _cohort(out, session, wheel_files, quick, progress)
    checked = session.verify(DATASET, read_data=True, progress=progress)
    if checked.damaged:
        raise IntegrityError(f"the demo's vault is damaged: {checked.damaged[0]}")
    stages, trained = _model(session, config, smaller, progress)
    drawn = 8 if quick else 16
    evaluated = session.evaluate(
        MODEL, DATASET, n=drawn, downstream=False, baselines=False, progress=progress
    )
    release = _release(out, session, 6 if quick else VOLUMES, progress)
    return DemoResult(
        release=release.release,
        report=release.report,
        epsilon=trained.epsilon,
        delta=trained.delta,
        patients=session.datasets.show(DATASET).subjects,
        volumes=release.n,
        plan=stages,
        metrics=evaluated.metrics,
        heads=wheel_files is not None,
    )


def _overrides(heads: bool, quick: bool) -> tuple[str, ...]:
    smaller = QUICK + (QUICK_HEADS if heads else QUICK_BRAINS) if quick else ()
    return (() if heads else BRAINS) + smaller


def _config(out: Path) -> Path:
    """The configuration that is used, written where the user can read and change it."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / "demo.yaml"
    if not target.exists():
        api.copy_config("demo", target)
    return target


def _tenant(out: Path, device: str) -> api.Session:
    """The demo's own vault and keys, apart from the user's."""
    identity = out / "keys" / "identity"
    if identity.exists():
        return api.open(out / "vault", TENANT, identity=identity, device=device)
    return api.create_tenant(
        out / "vault", TENANT, identity=identity, recovery=out / "keys" / "recovery"
    )


def _library(out: Path, sources: Sources | None, progress: Progress) -> None:
    """The public heads, in the demo's own vault."""
    there = {entry.name for entry in api.list_anatomy(out / "vault").entries}
    if (sources is None) == (LIBRARY in there) and (out / "cohort" / "subjects.csv").exists():
        raise UsageError(
            f"an earlier demo in {out} was run {'with' if sources is None else 'without'} the "
            "public heads; choose another folder with --out"
        )
    if sources is not None and LIBRARY not in there:
        api.fetch_anatomy(LIBRARY, file=sources.samseg, vault=out / "vault", progress=progress)


def _cohort(
    out: Path, session: api.Session, sources: Sources | None, quick: bool, progress: Progress
) -> None:
    """Sixty patients, six of them with two scans (a quick demo: 20 and one)."""
    from medvae.demo import cohort

    folder = out / "cohort"
    patients, twice = (QUICK_PATIENTS, QUICK_TWICE) if quick else (PATIENTS, TWICE)
    if not (folder / "subjects.csv").exists():
        if sources is None:
            base = cohort.brain()
        else:
            base = cohort.head(sources.average_head(), cohort.HEAD_MM * (2.0 if quick else 1.0))
        cohort.write(folder, base, patients, twice, progress=progress)
    session.ingest([folder], DATASET, modality="mri", label_scheme=cohort.LABELS, progress=progress)


def _model(
    session: api.Session, config: Path, overrides: tuple[str, ...], progress: Progress
) -> tuple[tuple[StagePlan, ...] | None, TrainResult]:
    """The public and the private model; the plan is None where an earlier demo has trained."""
    stages = None
    if not _has(session, MODEL):
        stages = session.plan(config, DATASET, overrides=overrides).stages
    if not _has(session, PUBLIC):
        session.pretrain(config, PUBLIC, overrides=overrides, progress=progress)
    trained = session.train(
        config,
        DATASET,
        MODEL,
        init=PUBLIC,
        resume=_begun(session),
        overrides=overrides,
        progress=progress,
    )
    return stages, trained


def _release(out: Path, session: api.Session, volumes: int, progress: Progress) -> ReleaseResult:
    """A release of so many volumes, verified by the tenant's public key."""
    folder = out / "release"
    if folder.exists():
        # An earlier demo's release: this demo made it, nothing else is there.
        shutil.rmtree(folder)
    release = session.releases.create(MODEL, volumes, folder, seed=1, progress=progress)
    key = out / "keys" / "signer.pem"
    key.write_bytes(session.tenant.public_key())
    result = api.verify_release(folder, key)
    if result.valid is not True:
        raise IntegrityError(f"the demo's release does not verify: {result.problems[0]}")
    return release


def _has(session: api.Session, model: str) -> bool:
    return session.tenant.find("model", model) is not None


def _begun(session: api.Session) -> bool:
    return session.tenant.find("run", MODEL) is not None
