"""Releases: generate, gate, write, describe, sign."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import approvals, models, public_images
from medvae.api.formats import chosen
from medvae.api.release_book import Entry, record_of
from medvae.api.results import GateCheck, ReleaseCheck, ReleaseResult
from medvae.errors import MedvaeError
from medvae.options.generate import GenerateOptions
from medvae.options.release import RELEASED, ReleaseOptions
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from medvae.api.context import TenantContext
    from medvae.model import Artifact
    from medvae.release import Account, GateInputs, Looks, PublicImages, ReleaseFacts, VerifyResult
    from medvae.release import ReleaseResult as Written
    from medvae.vault import Tenant


def create(context: TenantContext, options: ReleaseOptions) -> ReleaseResult:
    """A signed folder of synthetic volumes; refused where the gate says no.

    Raises:
        BudgetError: the model has no finite guarantee, or none that its plan covers.
        UsageError: the folder is taken, the format is unknown, or the public people that quality
            is measured against cannot be used (see `quality.meter`).
    """
    tenant, name = context.tenant, options.model
    try:
        written, status = _create(context, options)
    except MedvaeError as error:
        tenant.record("release", outcome="failure", model=name, reason=type(error).__name__)
        raise
    tenant.record(
        "release",
        model=name,
        volumes=written.volumes,
        signer=written.signer,
        release=written.id,
        recipient=options.recipient,
    )
    return _result(written, name, status)


def _create(context: TenantContext, options: ReleaseOptions) -> tuple[Written, str]:
    """Generate, gate, write, describe, sign; the folder, and where the release stands now."""
    from medvae import release
    from medvae.api import quality

    tenant, name, out = context.tenant, options.model, Path(options.out)
    artifact = models.load_outgoing(tenant, name)
    if options.recipient:
        release.one_line(options.recipient, "--recipient")
    fmt = chosen(options.fmt, artifact.config().data, RELEASED)
    seed, drawn = models.draw(context, artifact, _drawing(options))
    accounted = accounted_of(tenant, name, artifact)
    people, public = None, None
    if options.with_public:
        people, public = public_images.of_model(tenant, name, artifact)
    facts = _facts(tenant, artifact, options, seed, accounted, public)
    required = approvals.requirement(tenant)
    book = Entry(tenant, record_of(facts, name, fmt), out, options.recipient, required is not None)
    written = release.create(
        drawn,
        out,
        facts=facts,
        sign=book.signer(),
        public_key=tenant.public_key(),
        gate=_gate(facts),
        fmt=fmt,
        public=() if people is None else public_images.on_grid(people, facts.data),
        approvals=required,
        meter=quality.meter(tenant, artifact, facts.data, options.reference, options.progress),
        progress=options.progress,
    )
    book.finish()
    return written, "released" if required is None else "awaiting approval"


def _drawing(options: ReleaseOptions) -> GenerateOptions:
    """What to draw."""
    return GenerateOptions(
        options.model,
        options.n,
        options.out,
        seed=options.seed,
        category=options.category,
        site=options.site,
    )


def _facts(
    tenant: Tenant,
    artifact: Artifact,
    options: ReleaseOptions,
    seed: int,
    accounted: Accounted,
    public: PublicImages | None,
) -> ReleaseFacts:
    """What the card says of the model, of its patients' accounts, and in the user's words."""
    from medvae.release import ReleaseFacts

    return ReleaseFacts.from_model(
        artifact.facts,
        n=options.n,
        seed=seed,
        name=options.title or None,
        tenant_limit=tenant.epsilon_limit,
        suffix=options.suffix,
        body_part=options.body_part,
        label_names=tuple(options.label_names),
        debited=accounted.debited,
        account=accounted.account,
        looks=accounted.looks,
        public=public,
        structures=options.structures,
        **({"license": options.licence} if options.licence else {}),
    )


def _result(written: Written, name: str, status: str) -> ReleaseResult:
    """What was written, as a program reads it."""
    return ReleaseResult(
        release=written.path,
        report=written.report,
        volumes=written.volumes,
        files=written.files,
        bytes=written.bytes,
        epsilon=written.epsilon or 0.0,
        delta=written.delta or 0.0,
        unit=written.unit or "patient",
        passed=written.passed,
        checks=tuple(GateCheck(**vars(check)) for check in written.checks),
        signer=written.signer,
        model=name,
        n=written.volumes,
        public=written.public,
        id=written.id,
        status=status,
        scores=written.scores,
    )


def _gate(facts: ReleaseFacts) -> GateInputs:
    """What was asked of public images; the answer looks the same whoever the patients are."""
    from medvae.release import Check, GateInputs

    if facts.public is None:
        return GateInputs()
    sentence = f"no person of the anatomy entry {facts.public.entry} is an ingested patient"
    return GateInputs(checks=(Check("public people", True, sentence),))


@dataclass(frozen=True)
class Accounted:
    """As `release.PrivacyFacts` has them; None of a public model, which has no patients."""

    debited: bool | None = None
    account: Account | None = None
    looks: Looks | None = None


def accounted_of(tenant: Tenant, name: str, artifact: Artifact) -> Accounted:
    """What ledger and audit log say of the trainings behind a model, and of those it goes on from.

    Whatever is in it goes on the card, so nothing of it says who took part in which training.
    """
    from medvae.api.accounts import ledger
    from medvae.api.evaluation import looks
    from medvae.privacy import Plan
    from medvae.release import Account, Looks

    run = models.run_of(tenant, name)
    if models.join_of(tenant, name) is not None:
        return _of_hospitals(tenant, artifact)
    if run is None:
        return Accounted()
    book = ledger(tenant)
    runs = [(run, Plan.from_json(run["plan"]))]
    for earlier in artifact.facts.get("continues", []):
        # A name that has no run, or one of another plan, is a run that nothing was debited for.
        record = models.run_of(tenant, earlier["name"]) or {**run, "id": ""}
        runs.append((record, Plan.from_json(earlier["plan"])))
    most = book.most()
    return Accounted(
        debited=all(book.holds(record["id"], plan) for record, plan in runs),
        account=Account(most.spent, most.delta, most.events),
        looks=Looks(**looks(tenant)),
    )


def _of_hospitals(tenant: Tenant, artifact: Artifact) -> Accounted:
    """What the hospitals of a joint model have stated and signed; their ledgers are not here.

    The largest account of any, and all looks: of this tenant, too, which may be one of them.
    """
    from medvae.api.accounts import ledger
    from medvae.api.evaluation import looks as looks_here
    from medvae.release import Account, Looks

    hospitals = artifact.facts["hospitals"]
    most = ledger(tenant).most()
    here = {"epsilon": most.spent, "delta": most.delta, "debits": most.events}
    accounts = [here, *(hospital["account"] for hospital in hospitals)]
    figures = {key: max(account[key] for account in accounts) for key in accounts[0]}
    looks = [looks_here(tenant), *(hospital["looks"] for hospital in hospitals)]
    return Accounted(
        debited=all(hospital["debited"] is True for hospital in hospitals),
        account=Account(**figures),
        looks=Looks(**{key: sum(look[key] for look in looks) for key in looks[0]}),
    )


def verify(
    folder: str | Path,
    public_key: str | Path | None = None,
    *,
    recalled: str | Path | None = None,
    approver: str | None = None,
    progress: Progress = SILENT,
) -> ReleaseCheck:
    """Check a release folder; needs no vault (see `medvae.release.verify`).

    Raises:
        NotFoundError: the folder is not there.
        UsageError, AccessError: `public_key` is not a readable Ed25519 key.
        IntegrityError: `recalled` is no recall list of the release's signer.
    """
    from medvae import release

    key = None if public_key is None else Path(public_key)
    recalls = None if recalled is None else Path(recalled)
    return checked(release.verify(Path(folder), key, progress, recalled=recalls, approver=approver))


def checked(result: VerifyResult) -> ReleaseCheck:
    """What verification found, as a program reads it."""
    return ReleaseCheck(**(vars(result) | {"problems": tuple(result.problems)}))
