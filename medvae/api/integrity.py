"""Whether what is stored is whole: objects, and the volumes that data sets list; repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.api import datasets
from medvae.api.results import Collection, Damage, IntegrityReport, RepairReport
from medvae.errors import IntegrityError
from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.vault import Tenant


def verify(tenant: Tenant, ref: str | None, read_data: bool, progress: Progress) -> IntegrityReport:
    """Check stored objects; `read_data` also decrypts them all.

    The result lists the damage; the command line turns any into exit code 4. `unknown` counts
    files that the catalogue does not know: a crash leaves some, and so does a catalogue that
    was put back to an older state.
    """
    only = None
    if ref is not None:
        manifest = datasets.load(tenant, ref)
        only = {entry["object"] for entry in manifest["volumes"]}
        only.add(datasets.object_of(tenant, f"{manifest['name']}@{manifest['version']}"))
    report = tenant.verify(read_data=read_data, only=only, progress=progress)
    damaged = [Damage(damage.object, damage.reason) for damage in report.damaged]
    if ref is None and not damaged:
        damaged = _lost_volumes(tenant)
    unknown = len(report.orphans)
    try:
        tenant.record(
            "verify",
            outcome="failure" if damaged else "success",
            objects=report.objects,
            damaged=len(damaged),
            unknown=unknown,
        )
    except IntegrityError:
        # A catalogue that is damaged itself takes no event: the list of damage is the answer.
        if not damaged:
            raise
    return IntegrityReport(report.objects, tuple(damaged), unknown, read_data)


def repair(tenant: Tenant, gc: bool, progress: Progress) -> RepairReport:
    """Move damaged files aside and say what is lost; `gc` also removes unreferenced files.

    Nothing is removed unless the catalogue is proven whole and no object is lost: a file that
    is not known may be what a hidden row refers to.

    Raises:
        IntegrityError: `gc`, and the catalogue is not whole; nothing was removed.
    """
    report = tenant.repair(progress=progress)
    lost = tuple(Damage(damage.object, damage.reason) for damage in report.lost)
    collected = None
    if gc and not lost:
        with tenant.writer():
            tenant.inventory()
            garbage = tenant.gc()
            collected = Collection(garbage.staged, garbage.orphans, garbage.freed)
            tenant.record("repair gc", **vars(collected))
    return RepairReport(report.objects, lost, report.quarantined, collected)


def _lost_volumes(tenant: Tenant) -> list[Damage]:
    """Volumes that a data set lists and the catalogue no longer knows."""
    lost = []
    for label in tenant.names("dataset"):
        for entry in datasets.load(tenant, label)["volumes"]:
            if tenant.find("volume", entry["digest"]) != entry["object"]:
                reason = f"missing: listed by {label}, not in the catalogue"
                lost.append(Damage(entry["object"], reason))
    return lost
