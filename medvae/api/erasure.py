"""What deletes: a data set, a patient who withdraws, and the volumes that nobody holds then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.api import charged, datasets, nearest
from medvae.api.accounts import ledger
from medvae.api.models import compression_of, join_of
from medvae.api.records import Manifest
from medvae.api.results import DatasetDeletion, SubjectErasure
from medvae.errors import IntegrityError, NotFoundError

if TYPE_CHECKING:
    from medvae.vault import Tenant

Stored = dict[str, dict[str, str | None]]


def delete(tenant: Tenant, ref: str) -> DatasetDeletion:
    """Delete one version (`name@2`) or all (`name`), and the volumes nobody else holds.

    Raises:
        NotFoundError: there is no such data set.
        IntegrityError: the catalogue is not whole; nothing was deleted.
    """
    name, at, _ = ref.partition("@")
    # Also of a data set that is gone: the writer destroys the keys that a deletion which was cut
    # off has left.
    with tenant.writer():
        datasets.resolve(tenant, ref)
        stored = tenant.inventory()
        manifests = _manifests(tenant, stored)
        doomed = (
            [datasets.resolve(tenant, ref)]
            if at
            else [f"{name}@{v}" for v in datasets.version_numbers(tenant, name)]
        )
        lost_entries = [e for label in doomed for e in manifests.pop(label)["volumes"]]
        with tenant.transaction():
            charged.keep(tenant, lost_entries)
            for label in doomed:
                tenant.delete("dataset", datasets.object_of(tenant, label))
            nearest.forget(tenant, doomed)
            lost = _sweep(tenant, manifests, stored)
        tenant.record("dataset delete", dataset=ref, volumes=lost)
    return DatasetDeletion(tuple(sorted(doomed)), lost)


def erase_subject(tenant: Tenant, source_id: str) -> SubjectErasure:
    """Remove a patient from every version of every data set.

    The ledger keeps the patient's events under the pseudonym (a budget is never refunded), and
    keyed digests of the scans that they were for (`charged`);
    the models that were trained on the patient are named, for the steward to decide on.

    Raises:
        NotFoundError: no data set holds this patient.
        IntegrityError: the catalogue is not whole; nothing was erased.
    """
    pseudonym = tenant.pseudonym(source_id)
    with tenant.writer():
        stored = tenant.inventory()
        manifests = _manifests(tenant, stored)
        remaining = {
            label: m | {"volumes": [e for e in m["volumes"] if e["subject"] != pseudonym]}
            for label, m in manifests.items()
        }
        changed = sorted(label for label in remaining if remaining[label] != manifests[label])
        if not changed:
            raise NotFoundError(f"no data set of tenant {tenant.name} holds patient {source_id!r}")
        models = _models_of(tenant, pseudonym)
        erased = [e for m in manifests.values() for e in m["volumes"] if e["subject"] == pseudonym]
        with tenant.transaction():
            charged.keep(tenant, erased)
            for label in changed:
                tenant.delete("dataset", datasets.object_of(tenant, label))
                if remaining[label]["volumes"]:
                    datasets.store(tenant, remaining[label])
            nearest.forget(tenant, changed)
            lost = _sweep(tenant, remaining, stored)
        tenant.record("subject erase", subject=pseudonym, volumes=lost, datasets=changed)
    return SubjectErasure(pseudonym, tuple(changed), lost, tuple(models))


def _manifests(tenant: Tenant, stored: Stored) -> dict[str, Manifest]:
    """The manifest of each version of each data set, by its label.

    Raises:
        IntegrityError: a manifest lists a volume that is not stored, so that an erasure would be
            incomplete.
    """
    labels = [label for label in stored.get("dataset", {}).values() if label is not None]
    manifests = {label: datasets.load(tenant, label) for label in sorted(labels)}
    for label, manifest in manifests.items():
        for entry in manifest["volumes"]:
            if entry["object"] not in stored.get("volume", {}):
                raise IntegrityError(
                    f"data set {label} lists volume {entry['object']}, which the catalogue does "
                    "not hold; nothing was deleted: restore the catalogue from a backup"
                )
    return manifests


def _sweep(tenant: Tenant, manifests: dict[str, Manifest], stored: Stored) -> int:
    """Delete every volume that no manifest of `manifests` lists; the writer lock is held.

    stored: the tenant's proven inventory, from before this transaction. What an interrupted
    ingest sealed and never listed goes as well.
    """
    listed = {entry["object"] for manifest in manifests.values() for entry in manifest["volumes"]}
    doomed = [volume for volume in stored.get("volume", {}) if volume not in listed]
    for volume in doomed:
        tenant.delete("volume", volume)
    return len(doomed)


def _models_of(tenant: Tenant, pseudonym: str) -> list[str]:
    """Every run that was charged to this patient, from the ledger, and what came from it."""
    book = ledger(tenant)
    charged = {entry["run"].partition("#")[0] for entry in book.history([pseudonym])}
    joins = {name: join_of(tenant, name) for name in tenant.names("join")}
    charged |= {name for name, note in joins.items() if note and charged & set(note["own"])}
    notes = {name: compression_of(tenant, name) for name in tenant.names("compression")}
    smaller = {name for name, note in notes.items() if note and note["source"] in charged}
    return sorted(charged | smaller)
