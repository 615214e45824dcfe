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
from medvae.api.results import Metric, Result, StagePlan
from medvae.errors import IntegrityError
from medvae.progress import Progress

TENANT = "demo-hospital"
DATASET = "heads"
PUBLIC = "public"
MODEL = "heads-private"
VOLUMES = 24

# The same path with smaller numbers, for tests.
QUICK = (
    "data.size=[24, 28, 24]",
    "data.spacing=[8.0, 8.0, 8.0]",
    "model.preset=tiny",
    "pretrain.steps=10",
    "atlas.samples=8",
    "atlas.steps=5",
    "finetune.steps=4",
    "prior.rank=4",
)


@dataclass(frozen=True)
class DemoResult(Result):
    """What the demo made; `plan` is None where an earlier demo had trained the model already."""

    release: Path
    report: Path
    epsilon: float
    delta: float
    patients: int
    volumes: int
    plan: tuple[StagePlan, ...] | None
    metrics: Mapping[str, Metric]


def run(out: Path, *, quick: bool, device: str, progress: Progress) -> DemoResult:
    """Make the cohort and take it to a verified release in `out`."""
    config = _config(out)
    smaller = QUICK if quick else ()
    session = _tenant(out, device)
    _cohort(out, session, quick, progress)
    checked = session.verify(DATASET, read_data=True, progress=progress)
    if checked.damaged:
        raise IntegrityError(f"the demo's vault is damaged: {checked.damaged[0]}")
    stages = None
    if not _has(session, MODEL):
        stages = session.plan(config, DATASET, overrides=smaller).stages
    if not _has(session, PUBLIC):
        session.pretrain(config, PUBLIC, overrides=smaller, progress=progress)
    trained = session.train(
        config,
        DATASET,
        MODEL,
        init=PUBLIC,
        resume=_begun(session),
        overrides=smaller,
        progress=progress,
    )
    drawn = 8 if quick else 16
    evaluated = session.evaluate(MODEL, DATASET, n=drawn, downstream=False, progress=progress)
    folder = out / "release"
    if folder.exists():
        # An earlier demo's release: this demo made it, nothing else lies there.
        shutil.rmtree(folder)
    volumes = 6 if quick else VOLUMES
    made = session.releases.create(MODEL, volumes, folder, seed=1, progress=progress)
    key = out / "keys" / "signer.pem"
    key.write_bytes(session.tenant.public_key())
    result = api.verify_release(folder, key)
    if result.valid is not True:
        raise IntegrityError(f"the demo's release does not verify: {result.problems[0]}")
    return DemoResult(
        release=made.release,
        report=made.report,
        epsilon=trained.epsilon,
        delta=trained.delta,
        patients=session.datasets.show(DATASET).subjects,
        volumes=made.n,
        plan=stages,
        metrics=evaluated.metrics,
    )


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


def _cohort(out: Path, session: api.Session, quick: bool, progress: Progress) -> None:
    """Forty patients, eight of them with two scans (a quick demo: 24 and two)."""
    from medvae.demo.cohort import LABELS, PATIENTS, TWICE, write

    folder = out / "cohort"
    patients, twice = (24, 2) if quick else (PATIENTS, TWICE)
    if not (folder / "subjects.csv").exists():
        progress.start("Making the cohort", 1)
        write(folder, patients, twice)
        progress.finish(f"{patients} patients")
    session.ingest([folder], DATASET, modality="mri", label_scheme=LABELS, progress=progress)


def _has(session: api.Session, model: str) -> bool:
    return session.tenant.find("model", model) is not None


def _begun(session: api.Session) -> bool:
    return session.tenant.find("run", MODEL) is not None
