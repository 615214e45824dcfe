"""Whose a scan is: the patient of its source, unless the vault knows the scan already.

One scan under two names would open two accounts for one person, and the budget of the first
would protect nobody; two scans under one name would be one person where they are two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from medvae.api import charged, datasets
from medvae.api.copies import contrasts_of

if TYPE_CHECKING:
    from medvae.api.copies import Stored
    from medvae.api.records import VolumeEntry
    from medvae.ingest import Ingested
    from medvae.vault import Tenant
    from medvae.volume import Volume


@dataclass(frozen=True)
class Holder:
    """Under whom a scan is stored, in which data set; `own`: as a file of its own.

    charged: a training was charged to this account, so no other may be opened for the scan.
    """

    pseudonym: str
    own: bool
    dataset: str = ""
    charged: bool = False


@dataclass
class Owners:
    """The scans that a tenant holds, and those of the ingest that goes on.

    Attributes:
        held: keyed digest of voxels -> who holds them, or was charged for them before they were
            deleted.
        scans: pseudonym -> keyed digests of its scans.
        studies: keyed digest of a DICOM study -> who holds its first scan.
        fresh: keyed digests of the scans of this ingest.
        twice: scans of the ingest that were there already, of the same subject.
        changed: what the ingest changed of scans that were stored -> of how many.
        contested: scans of the ingest that the table gives to another patient than the one who
            holds the rest of their study.
    """

    held: dict[str, Holder] = field(default_factory=dict)
    scans: dict[str, set[str]] = field(default_factory=dict)
    studies: dict[str, Holder] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    twice: int = 0
    contested: int = 0
    changed: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, tenant: Tenant) -> Owners:
        """The scans of all data sets, and those of charged patients that were deleted."""
        owners, accounts = cls(), charged.patients(tenant)
        for voxels, (pseudonym, own) in charged.scans(tenant).items():
            owners.held[voxels] = Holder(pseudonym, own, charged=True)
            owners.scans.setdefault(pseudonym, set()).add(voxels)
        for label, entry in datasets.labelled_entries(tenant):
            subject, own = entry["subject"], bool(entry.get("own_subject"))
            holder = Holder(subject, own, label, subject in accounts)
            owners.held[entry["voxels"]] = holder
            owners.scans.setdefault(entry["subject"], set()).add(entry["voxels"])
            if study := entry.get("study"):
                owners.studies.setdefault(study, holder)
        return owners

    def keep(self, item: Ingested, voxels: str, holder: Holder) -> None:
        """A scan of this ingest."""
        if item.study:
            self.contested += self._is_contested(item, holder)
            self.studies.setdefault(item.study, holder)
        self.twice += voxels in self.fresh
        self.fresh.add(voxels)
        self.held.setdefault(voxels, holder)
        self.scans.setdefault(holder.pseudonym, set()).add(voxels)

    def holder(self, tenant: Tenant, item: Ingested, voxels: str) -> Holder:
        """Who the scan is to be stored under.

        A file that names no patient is known again by its voxels, wherever it is now; another
        file of the same name is another subject. A pseudonym that the tenant gave, as an export
        has it, is that patient's and not that of a new one.
        """
        owner = self.held.get(voxels)
        if item.own_subject and owner is not None and owner.own and voxels not in self.fresh:
            return owner
        if item.subject in self.scans and not item.own_subject:
            return Holder(item.subject, own=False)
        pseudonym = tenant.pseudonym(item.subject)
        others = self.scans.get(pseudonym, set()) - {voxels}
        if item.own_subject and others and not item.several:
            pseudonym = tenant.pseudonym(f"{item.subject}\n{voxels}")
        return Holder(pseudonym, item.own_subject)

    def refusal(self, item: Ingested, holder: Holder, voxels: str, stored: Stored | None) -> str:
        """Why the scan cannot be stored under this subject; empty where it can."""
        if self._is_contested(item, holder) and not item.by_table:
            return _other_study(self.studies[item.study])
        owner = self.held.get(voxels)
        if owner is not None:
            # Of the same subject it was compared when it was stored.
            return "" if owner.pseudonym == holder.pseudonym else _elsewhere(owner, holder)
        # A contrast may be stored as a scan of its own, and a scan as a channel.
        images = [item.volume.grey, *contrasts_of(item.volume)]
        near = (copy for part in images for copy in (stored.copies(part) if stored else ()))
        if any(entry["subject"] != holder.pseudonym for entry in near):
            return (
                "a copy of it with other intensities or another header is stored as another "
                "patient's; name the same patient in the subjects table, or leave this file out"
            )
        return ""

    def compare(self, before: VolumeEntry, now: VolumeEntry) -> None:
        """Count what a scan that was stored already is taken for now."""
        if before["modality"] != now["modality"]:
            self.changed[f"modality, from {before['modality']} to {now['modality']}"] += 1
        if before["spacing"] != now["spacing"]:
            self.changed["voxel size"] += 1

    def notes(self) -> list[str]:
        """What the user should know of the scans that were kept."""
        lines = []
        if self.twice:
            given = "1 scan was" if self.twice == 1 else f"{self.twice} scans were"
            once = "counts" if self.twice == 1 else "count"
            lines.append(f"{given} given more than once and {once} once")
        lines += [
            f"the {what} was changed of scans that were stored before: {count}; check it"
            for what, count in sorted(self.changed.items())
        ]
        if self.contested:
            lines.append(
                f"{self.contested} scans are of a study that is stored as another patient's; a "
                "study is of one patient: check the table"
            )
        return lines

    def _is_contested(self, item: Ingested, holder: Holder) -> bool:
        owner = self.studies.get(item.study)
        return owner is not None and owner.pseudonym != holder.pseudonym


def _other_study(owner: Holder) -> str:
    where = owner.dataset.partition("@")[0]
    stored = f" in data set {where}" if where else ""
    return (
        f"its study is stored{stored} as another patient's, and a study is of one patient: say "
        "whose its files are in a table (--subjects)"
    )


def _elsewhere(owner: Holder, holder: Holder) -> str:
    if owner.charged:
        whose = "a file of no known patient" if owner.own else "another patient"
        how = "without a table, as before" if owner.own else "under that patient's name"
        return (
            f"a training was charged to the account of {whose} for the same voxels, and under "
            f"another name they would have a second account: ingest the file {how}, or leave it out"
        )
    if owner.own and not holder.own and owner.dataset:
        name = owner.dataset.partition("@")[0]
        return (
            f"the same voxels are stored in data set {name} as a file of no known patient; run "
            f"medvae dataset delete {name} --yes, then ingest again with the table"
        )
    where = owner.dataset.partition("@")[0]
    mistaken = f"; if that is wrong, delete data set {where} and ingest again" if where else ""
    return (
        "the same voxels are stored as another patient's; name the same patient in the subjects "
        f"table, or leave this file out{mistaken}"
    )


def updated(tenant: Tenant, now: Volume, entry: VolumeEntry) -> Volume:
    """The volume of a scan that is stored already: what it lacks now is kept from there."""
    before = datasets.open_volume(tenant, entry)
    mask = before.mask if now.mask is None else now.mask
    return replace(now, mask=mask, meta=before.meta | now.meta)
