"""`ingest --dry-run`: read everything, store nothing, and list what would be stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvae.api.copies import Stored, voxel_digest
from medvae.api.owners import Owners
from medvae.api.preview import MOST_SCANS, PSEUDONYM, write
from medvae.api.results import Refused, Rehearsed

if TYPE_CHECKING:
    from medvae.ingest import Ingested, Quarantined
    from medvae.release.preview import Scan
    from medvae.vault import Tenant
    from medvae.volume import Volume


@dataclass
class Rehearsal:
    """What an ingest would take.

    Attributes:
        sheet: whether panels of the first volumes are kept, to be drawn.
        before: (digest of voxels, pseudonym) of what the data set holds.
    """

    sheet: bool
    before: set[tuple[str, str]]
    rows: list[Rehearsed] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    units: set[bool] = field(default_factory=set)
    added: int = 0
    scans: list[Scan] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def subjects(self) -> int:
        return len({row.subject for row in self.rows})

    @property
    def unit(self) -> str | None:
        """As the data set's would be: one file that is its own subject decides."""
        return ("file" if True in self.units else "patient") if self.units else None


def rehearse(
    tenant: Tenant,
    items: Iterable[Ingested | Quarantined],
    before: set[tuple[str, str]],
    sheet: bool,
) -> Rehearsal:
    """Look at all that an ingest reads as it would, without storing anything.

    Args:
        items: of `medvae.ingest.read`.
        before: as `Rehearsal.before`.
    """
    from medvae.ingest import Quarantined

    rehearsal = Rehearsal(sheet, before)
    owners, stored = Owners.of(tenant), Stored(tenant)
    for item in items:
        if isinstance(item, Quarantined):
            rehearsal.refused.append(Refused(item.source, item.reason))
        else:
            _see(tenant, item, owners, stored, rehearsal)
    rehearsal.notes = owners.notes()
    return rehearsal


def _see(
    tenant: Tenant, item: Ingested, owners: Owners, stored: Stored, rehearsal: Rehearsal
) -> None:
    voxels = voxel_digest(tenant, item.volume.voxels)
    holder = owners.holder(tenant, item, voxels)
    if reason := owners.refusal(item, holder, voxels, stored):
        rehearsal.refused.append(Refused(item.source, reason))
        return
    owners.keep(item, voxels, holder)
    rehearsal.units.add(holder.own)
    rehearsal.added += (voxels, holder.pseudonym) not in rehearsal.before
    rehearsal.rows.append(_row(item.source, holder.pseudonym, item.volume))
    if rehearsal.sheet and len(rehearsal.scans) < MOST_SCANS:
        from medvae.release.preview import scan_of

        rehearsal.scans.append(scan_of(item.volume, holder.pseudonym[:PSEUDONYM]))


def _row(source: str, pseudonym: str, volume: Volume) -> Rehearsed:
    values = [] if volume.mask is None else np.unique(volume.mask).tolist()
    return Rehearsed(
        source=source,
        subject=pseudonym,
        modality=", ".join(volume.modalities or (volume.modality,)),
        shape=volume.shape,
        spacing=tuple(round(step, 4) for step in volume.spacing),
        channels=volume.channels,
        labels=tuple(value for value in values if value),
        category=volume.category,
        site=volume.site,
    )


def draw(
    rehearsal: Rehearsal, out: Path, sources: Sequence[object], scheme: dict[str, str] | None
) -> None:
    """Write the sheet of a rehearsal."""
    named = ", ".join(Path(str(source)).name for source in sources)[:80]
    title = f"dry run of {named}: {len(rehearsal.scans)} of {len(rehearsal.rows)} volumes"
    write(out, rehearsal.scans, title, scheme)
