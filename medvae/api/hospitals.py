"""One anatomy model of several hospitals: what each gives as a file, and what joins the files.

A hospital trains as ever and exports what its mechanisms released. Whoever joins reads these files
and public people alone; no scan and no sum without noise leaves a hospital, and nothing is spent.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import anatomy_choice, models, releases
from medvae.api.datasets import check_name
from medvae.api.files import filling, fresh_folder
from medvae.api.records import JoinNote
from medvae.api.results import JoinedHospital, JoinedModel, ModelExport
from medvae.errors import (
    AccessError,
    BudgetError,
    InputError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.anatomy.cohort import CohortAnatomy
    from medvae.api.context import TenantContext
    from medvae.config import RunConfig
    from medvae.privacy.apart import Apart
    from medvae.train.joining import Hospital
    from medvae.train.statistics import Statistics
    from medvae.vault import Tenant

FILE, SIGNER = "statistics.safetensors", "signer.pem"
# Far more than anybody joins; all of them are in memory at once.
_MOST = 256


@dataclass(frozen=True)
class JoinRequest:
    """What `model join` was asked for.

    Attributes:
        sources: files, folders of exports, or models of the tenant.
        name: of the joint model.
        public_keys: files of the hospitals' keys; () where nobody was to be known.
    """

    sources: Sequence[str]
    name: str
    public_keys: Sequence[Path] = ()


def export(tenant: Tenant, name: str, out: Path) -> ModelExport:
    """Write what a model's training released, signed, as a file that can be joined with others'.

    Raises:
        BudgetError: its noise does not protect its patients, or nothing was debited for it.
        UsageError: it has no such statistics (see `train.joining`), or `out` is not empty.
    """
    data = statistics(tenant, name)
    fresh_folder(out)
    with filling(out, len(data)):
        (out / FILE).write_bytes(data)
        (out / SIGNER).write_bytes(tenant.public_key())
    tenant.record("export", model=name, format=models.STATISTICS)
    return ModelExport(name, models.STATISTICS, (out / FILE, out / SIGNER))


def statistics(tenant: Tenant, name: str) -> bytes:
    """The file of a model. Raises as `export`."""
    from medvae.train import joining
    from medvae.train import statistics as stage
    from medvae.version import __version__

    artifact = models.load_outgoing(tenant, name)
    joining.check_source(artifact, name)
    cohort = anatomy_choice.of_model(tenant, artifact)
    assert cohort is not None  # `check_source` saw an anatomy.
    arrays = joining.arrays_of(artifact, name, cohort)
    stated = releases.accounted_of(tenant, name, artifact)
    if stated.debited is not True or stated.account is None or stated.looks is None:
        raise BudgetError(
            f"the ledger holds no debit for the plan of model {name}, so that nothing says that "
            "its patients' budgets were charged: it cannot be joined with others"
        )
    statement = stage.Statement(
        tenant=tenant.name,
        model=name,
        software=__version__,
        artifact=artifact.facts["format"],
        plan=artifact.facts["plan"],
        arrays=stage.digest_of(arrays),
        debited=True,
        limit=tenant.epsilon_limit,
        account=stage.AccountFacts(**vars(stated.account)),
        looks=stage.LookFacts(**vars(stated.looks)),
    )
    return stage.write(statement, arrays, tenant.sign, tenant.public_key())


def join(context: TenantContext, request: JoinRequest, progress: Progress) -> JoinedModel:
    """Seal a model of all the hospitals' patients; everything is checked before that.

    Raises:
        NotFoundError: a source, or the library's entry, is not there.
        InputError, IntegrityError, UsageError: a file cannot be joined with the others, and why
            (see `medvae.train.statistics` and `medvae.train.alike`).
        AccessError: a file is signed by none of the keys that were given.
        BudgetError: a hospital is above its plan's target or its limit, or the result above the
            tenant's limit or delta, so that it could not be released.
    """
    from medvae.release import fingerprint
    from medvae.train import alike, joining

    tenant = context.tenant
    check_name(request.name)
    with tenant.writer():
        models.check_free(tenant, request.name, "--as")
        files = _read_all(tenant, request.sources)
        for file in files:
            alike.check_config(file.config, file.plan, file.source)
            alike.check_bounds(file.config, file.source)
        alike.check_alike(files)
        hospitals = _known(tenant, files, request.public_keys)
        guarantee = _guarantee(tenant, hospitals)
        cfg = joining.configuration(files)
        cohort = _entry(tenant, cfg)
        anatomy_choice.check(tenant, cfg)
        artifact = joining.join(hospitals, cohort, progress)
        own = fingerprint(tenant.public_key())
        note: JoinNote = {
            "own": [one.statistics.statement.model for one in hospitals if one.signer == own],
            "epsilon": guarantee.epsilon,
            "delta": guarantee.delta,
            "patients": sum(file.plan.patients for file in files),
            "hospitals": len(files),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with tenant.transaction():
            tenant.put("model", artifact.to_bytes(), name=request.name)
            tenant.put("join", json.dumps(note).encode(), name=request.name)
        given = [file.statement.arrays for file in files]
        tenant.record("model join", model=request.name, statistics=given)
    return JoinedModel(
        model=request.name,
        epsilon=guarantee.epsilon,
        delta=guarantee.delta,
        everywhere=guarantee.everywhere,
        unit=cfg.privacy.unit or "",
        patients=note["patients"],
        hospitals=tuple(_shown(hospital) for hospital in hospitals),
    )


def _shown(hospital: Hospital) -> JoinedHospital:
    facts = hospital.facts()
    return JoinedHospital(
        source=hospital.statistics.source,
        **{
            key: facts[key]
            for key in (
                *("tenant", "model", "patients", "epsilon", "delta"),
                *("signer", "known", "sha256"),
            )
        },
    )


def _guarantee(tenant: Tenant, hospitals: Sequence[Hospital]) -> Apart:
    from medvae.release.hospitals import guarantee as guarantee_of

    # As the gate of a release asks.
    guarantee, _ = guarantee_of([one.facts() for one in hospitals])
    if not guarantee.delta <= tenant.delta:
        raise BudgetError(
            f"the joint model would have delta {guarantee.delta:.4g}, above {tenant.delta:g}, at "
            f"which tenant {tenant.name} has its limit; leave out the hospital with the largest, "
            "or join in a tenant with a larger delta"
        )
    if not guarantee.epsilon <= tenant.epsilon_limit:
        raise BudgetError(
            f"the joint model would have epsilon {guarantee.epsilon:.4g}, above the limit "
            f"{tenant.epsilon_limit:g} of tenant {tenant.name}, and could not be released; leave "
            "out the hospital with the largest, or join in a tenant with a higher limit"
        )
    return guarantee


def _entry(tenant: Tenant, cfg: RunConfig) -> CohortAnatomy:
    """The entry that all hospitals name, which this vault's library must hold."""
    try:
        cohort = anatomy_choice.of_run(tenant, cfg)
    except (NotFoundError, UsageError) as error:
        raise type(error)(
            f"the hospitals measured around the anatomy entry {cfg.anatomy.library} with digest "
            f"{cfg.anatomy.digest[:16]}, which this vault's library must hold, too: {error}"
        ) from error
    assert cohort is not None  # `check_config` saw an entry.
    return cohort


def _read_all(tenant: Tenant, sources: Sequence[str]) -> list[Statistics]:
    from medvae.train import statistics as stage
    from medvae.vault import verify_signature

    if not 1 <= len(sources) <= _MOST:
        raise UsageError(f"a model is joined from 1 to {_MOST} files, not {len(sources)}")
    files = []
    for source in sources:
        path = Path(source)
        named = not path.exists() and "/" not in source and tenant.find("model", source) is not None
        data = statistics(tenant, source) if named else _bytes(path)
        files.append(stage.read(data, verify_signature, f"model {source}" if named else source))
    return files


def _bytes(path: Path) -> bytes:
    """At most one byte more than any export has."""
    from medvae.train.statistics import LARGEST

    path = path / FILE if path.is_dir() else path
    try:
        # Opening a pipe would wait for somebody to write.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is no regular file")
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        raise NotFoundError(
            f"there is neither a file {path} nor a model of that name in this tenant; give what "
            "medvae model export --format statistics wrote"
        ) from None
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {error.strerror or error}") from error


def _known(
    tenant: Tenant, files: Sequence[Statistics], public_keys: Sequence[Path]
) -> list[Hospital]:
    """Each file with its signer; where keys were given, nobody else's may be among them."""
    from medvae.release import fingerprint
    from medvae.train.joining import Hospital

    given = {fingerprint(_bytes(path)) for path in public_keys}
    own = fingerprint(tenant.public_key())
    hospitals = []
    for file in files:
        try:
            signer = fingerprint(file.signer)
        except AccessError as error:
            raise IntegrityError(f"{file.source}: {error}") from error
        known = signer in given or signer == own
        if given and not known:
            raise AccessError(
                f"{file.source} is signed by {signer}, whose key was not given: ask the hospital "
                f"for its public key (the {SIGNER} of its releases), or leave the file out"
            )
        hospitals.append(Hospital(file, signer, known))
    return hospitals
