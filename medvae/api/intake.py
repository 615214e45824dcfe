"""Ingest: scans in, one sealed object a volume, and a new version of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medvae.api import datasets, declaration
from medvae.api.copies import Stored, likenesses, voxel_digest
from medvae.api.results import Declared, IngestResult, Refused
from medvae.errors import InputError
from medvae.progress import Progress
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.ingest import Ingested
    from medvae.vault import Tenant


@dataclass(frozen=True)
class IngestOptions:
    """How to read the sources (see `medvae.ingest.read`) and what is declared of them."""

    subjects: Path | None = None
    labels: Path | None = None
    modality: str | None = None
    label_column: str | None = None
    class_column: str | None = None
    demographics: bool = False
    files_are_patients: bool = False
    label_scheme: declaration.Scheme | None = None
    classes: int | None = None
    workers: int = 1


@dataclass
class _IngestState:
    """What one ingest has found so far."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    stored: Stored | None = None


def ingest(
    tenant: Tenant, sources: list[Path], dataset: str, options: IngestOptions, progress: Progress
) -> IngestResult:
    """Read, de-identify, seal; good files are kept and bad ones listed.

    A volume is stored once: what an interrupted ingest has sealed is found again by its
    keyed digest, so that running it again goes on where it stopped.

    Raises:
        InputError: nothing was usable (exit 3); the vault stays as it was.
        InputError: or a source does not exist.
        UsageError: the data set's name is not one, the declaration is none, or no patient is
            named and `files_are_patients` is not set, or `workers` is below 1.
    """
    datasets.check_name(dataset)
    declared = declaration.parse(options.label_scheme, options.classes)
    with tenant.writer():
        taken = _IngestState()
        try:
            taken.owners = datasets.owners(tenant)
            taken.stored = Stored(tenant)
            _take(tenant, _read(sources, options, taken.notes, progress), taken)
            if not taken.entries:
                raise InputError(_nothing(sources, taken))
            manifest, added = datasets.add_version(tenant, dataset, taken.entries, declared)
        except Exception as error:
            tenant.record("ingest", outcome="failure", dataset=dataset, reason=type(error).__name__)
            raise
        tenant.record(
            "ingest",
            dataset=f"{dataset}@{manifest['version']}",
            added=added,
            quarantined=len(taken.quarantined),
        )
    return IngestResult(
        dataset=dataset,
        version=manifest["version"],
        subjects=len({entry["subject"] for entry in manifest["volumes"]}),
        volumes=len(manifest["volumes"]),
        added=added,
        masks=sum(entry["mask"] for entry in manifest["volumes"]),
        declared=Declared(**manifest["declared"]),
        unit=manifest["unit"],
        quarantined=tuple(taken.quarantined),
        notes=(*taken.notes, *declaration.notes(manifest)),
    )


def _read(
    sources: list[Path], options: IngestOptions, notes: list[str], progress: Progress
) -> Iterable[Any]:
    from medvae import ingest as stage

    return stage.read(
        sources,
        subjects=options.subjects,
        labels=options.labels,
        modality=options.modality,
        label_column=options.label_column,
        class_column=options.class_column,
        keep_demographics=options.demographics,
        require_patients=not options.files_are_patients,
        workers=options.workers,
        notes=notes.append,
        progress=progress,
    )


def _take(tenant: Tenant, items: Iterable[Any], taken: _IngestState) -> None:
    from medvae.ingest import Quarantined

    for item in items:
        if isinstance(item, Quarantined):
            taken.quarantined.append(Refused(item.source, item.reason))
        else:
            _keep(tenant, item, taken)


def _keep(tenant: Tenant, item: Ingested, taken: _IngestState) -> None:
    """Seal a volume, unless it or a copy of it is known as another patient's.

    The same scan under a second name would open a second account for one person, and the
    budget of the first would protect nobody.
    """
    pseudonym = tenant.pseudonym(item.subject)
    voxels = voxel_digest(tenant, item.volume.voxels)
    if reason := _whose(item.volume, pseudonym, voxels, taken):
        reason += "; name the same patient in the subjects table, or leave this file out"
        taken.quarantined.append(Refused(item.source, reason))
        return
    taken.owners[voxels] = pseudonym
    facts = {"voxels": voxels, "own_subject": item.own_subject}
    entry = _seal(tenant, item.volume, pseudonym) | facts
    taken.entries.append(entry)
    if taken.stored is not None:
        taken.stored.add(entry)


def _whose(volume: Volume, pseudonym: str, voxels: str, taken: _IngestState) -> str:
    """Why the volume would be another patient's; "" if nothing says so."""
    owner = taken.owners.get(voxels)
    if owner is not None:
        # Of the same patient it was compared when it was stored.
        return "" if owner == pseudonym else "the same voxels are stored as another patient's"
    near = [] if taken.stored is None else taken.stored.copies(volume.voxels)
    if any(entry["subject"] != pseudonym for entry in near):
        return (
            "a copy of it with other intensities or another header is stored as another patient's"
        )
    return ""


def _seal(tenant: Tenant, volume: Volume, pseudonym: str) -> dict[str, Any]:
    """Store a volume under its keyed digest; returns its line of the manifest."""
    data = volume.to_bytes()
    digest = tenant.digest(data, "volume")
    stored = tenant.find("volume", digest) or tenant.put("volume", data, name=digest)
    return {
        "object": stored,
        "digest": digest,
        "subject": pseudonym,
        "modality": volume.modality,
        "shape": list(volume.shape),
        "spacing": [round(step, 4) for step in volume.spacing],
        "mask": volume.mask is not None,
        "label_values": [] if volume.mask is None else _label_values(volume.mask),
        **likenesses(volume.voxels, volume.mask),
        **({} if volume.category is None else {"class": volume.category}),
    }


def _label_values(mask: npt.NDArray[np.uint8]) -> list[int]:
    """Numbers above 0 in a mask."""
    return [int(n) for n in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)) if n > 0]


def _nothing(sources: list[Path], taken: _IngestState) -> str:
    where = ", ".join(str(source) for source in sources)
    if not taken.quarantined:
        return f"no scan was found in {where}; expected NIfTI files, DICOM series or a BIDS folder"
    first = taken.quarantined[0]
    more = len(taken.quarantined) - 1
    others = f" ({more} more were refused as well)" if more else ""
    return f"nothing usable in {where}: {first.source}: {first.reason}{others}"
