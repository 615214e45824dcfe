"""Ingest: scans in, one sealed object a volume, and a new version of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae import memory
from medvae.api import datasets, declaration, owners
from medvae.api.copies import Stored, find_likeness, note_likeness, voxel_digest
from medvae.api.coverage import label_boxes
from medvae.api.owners import Holder, Owners
from medvae.api.preview import new_picture
from medvae.api.records import Declaration, Manifest, VolumeEntry
from medvae.api.refusals import nothing, reasons
from medvae.api.results import IngestResult, Refused
from medvae.errors import UsageError
from medvae.options.ingest import IngestOptions
from medvae.progress import HeldBack, Progress
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.ingest import Ingested, Quarantined, Received
    from medvae.ingest.first import First
    from medvae.vault import Tenant


@dataclass
class _IngestState:
    """What one ingest has found so far; `before`: the data set's newest version by scan."""

    entries: list[VolumeEntry] = field(default_factory=list)
    quarantined: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    owners: Owners = field(default_factory=Owners)
    stored: Stored | None = None
    before: dict[tuple[str, str], VolumeEntry] = field(default_factory=dict)


def ingest(
    tenant: Tenant,
    sources: Sequence[Path | Received],
    options: IngestOptions,
    first: First | None = None,
) -> IngestResult:
    """Read, de-identify, seal; good files are kept and bad ones listed.

    A volume is stored once: what an interrupted ingest has sealed is found again by its
    keyed digest, so that running it again goes on where it stopped. A scan that the data set
    holds takes its old entry's place, with the mask, class and label of either.

    `first`: as of `medvae.ingest.steps.ReadRequest`.

    Raises:
        NothingUsableError: nothing was usable (exit 3); the vault stays as it was.
        InputError: or a source does not exist.
        UsageError: the data set's name is not one, the declaration is none, or no patient is
            named and `files_are_patients` is not set, or `workers` is below 1.
        AccessError: a layer of the sandbox is missing, and `require_sandbox` is set.
    """
    dataset = options.dataset
    datasets.check_name(dataset)
    declared = declaration.parse(options.label_scheme, options.classes, options.sites)
    if options.dry_run:
        return _dry_run(tenant, sources, options, declared, first)
    if options.sheet is not None:
        raise UsageError("--sheet goes with --dry-run; see medvae dataset preview for afterwards")
    state = _IngestState()
    with tenant.writer():
        try:
            manifest, added, updated = _new_version(
                tenant, sources, options, declared, first, state
            )
        except Exception as error:
            tenant.record("ingest", outcome="failure", dataset=dataset, reason=type(error).__name__)
            raise
        tenant.record(
            "ingest",
            dataset=f"{dataset}@{manifest['version']}",
            added=added,
            updated=updated,
            quarantined=len(state.quarantined),
        )
    return IngestResult(
        dataset=dataset,
        version=manifest["version"],
        subjects=len({entry["subject"] for entry in manifest["volumes"]}),
        volumes=len(manifest["volumes"]),
        added=added,
        updated=updated,
        masks=sum(entry["mask"] for entry in manifest["volumes"]),
        declared=declaration.result(manifest["declared"]),
        unit=manifest["unit"],
        quarantined=tuple(state.quarantined),
        reasons=reasons(state.quarantined),
        notes=(*state.notes, *state.owners.notes(), *declaration.notes(manifest)),
    )


def _new_version(
    tenant: Tenant,
    sources: Sequence[Path | Received],
    options: IngestOptions,
    declared: Declaration,
    first: First | None,
    state: _IngestState,
) -> tuple[Manifest, int, int]:
    """Seal what is usable; the data set's new manifest, and how many entries are new or changed.

    Raises:
        NothingUsableError: nothing was usable. Else as `ingest`.
    """
    state.owners = Owners.of(tenant)
    state.stored = Stored(tenant)
    state.before = datasets.newest_entries(tenant, options.dataset)
    scheme = _scheme(tenant, options.dataset, declared)
    progress = HeldBack(options.progress)
    _take(tenant, _read(tenant, sources, options, scheme, state.notes, first, progress), state)
    if not state.entries:
        raise nothing(sources, state.quarantined)
    version = datasets.add_version(tenant, options.dataset, state.entries, declared)
    progress.release()
    return version


def _dry_run(
    tenant: Tenant,
    sources: Sequence[Path | Received],
    options: IngestOptions,
    declared: Declaration,
    first: First | None,
) -> IngestResult:
    """What an ingest would take; nothing is stored. Raises as `ingest`."""
    from medvae.api import rehearsal

    dataset, sheet = options.dataset, None if options.sheet is None else Path(options.sheet)
    if sheet is not None:
        new_picture(sheet)
    scheme, notes = _scheme(tenant, dataset, declared), list[str]()
    before = set(datasets.newest_entries(tenant, dataset))
    progress = HeldBack(options.progress)
    items = _read(tenant, sources, options, scheme, notes, first, progress)
    rehearsal_of_items = rehearsal.rehearse(tenant, items, before, sheet is not None)
    if not rehearsal_of_items.rows:
        raise nothing(sources, rehearsal_of_items.refused)
    if sheet is not None:
        rehearsal.draw(rehearsal_of_items, sheet, sources, scheme)
    progress.release()
    versions = datasets.version_numbers(tenant, dataset)
    return IngestResult(
        dataset=dataset,
        version=max(versions, default=0),
        subjects=rehearsal_of_items.subjects,
        volumes=len(rehearsal_of_items.rows),
        added=rehearsal_of_items.added,
        updated=0,
        masks=sum(bool(row.labels) for row in rehearsal_of_items.rows),
        declared=declaration.result(declared),
        unit=rehearsal_of_items.unit,
        quarantined=tuple(rehearsal_of_items.refused),
        reasons=reasons(rehearsal_of_items.refused),
        notes=(*notes, *rehearsal_of_items.notes),
        dry_run=True,
        rows=tuple(rehearsal_of_items.rows),
        sheet=sheet,
    )


def _scheme(tenant: Tenant, dataset: str, declared: Declaration) -> dict[str, str] | None:
    """The label scheme that is declared now, else the data set's."""
    scheme: dict[str, str] | None = declared["label_scheme"]
    if scheme is None and datasets.version_numbers(tenant, dataset):
        scheme = datasets.load(tenant, dataset).get("declared", {}).get("label_scheme")
    return scheme


def _read(
    tenant: Tenant,
    sources: Sequence[Path | Received],
    options: IngestOptions,
    scheme: dict[str, str] | None,
    notes: list[str],
    first: First | None,
    progress: Progress,
) -> Iterable[Ingested | Quarantined]:
    from medvae import ingest as stage

    # Who declares sites means the column of that name, unless another is named.
    site_column = options.site_column or ("site" if options.sites else None)
    return stage.read(
        sources,
        **options.reading() | {"site_column": site_column},
        scheme=scheme,
        key=tenant.derive("studies"),
        first=first,
        notes=notes.append,
        progress=progress,
    )


def _take(tenant: Tenant, items: Iterable[Ingested | Quarantined], state: _IngestState) -> None:
    from medvae.ingest import Quarantined

    for item in items:
        if isinstance(item, Quarantined):
            state.quarantined.append(Refused(item.source, item.reason))
        else:
            _keep(tenant, item, state)


def _keep(tenant: Tenant, item: Ingested, state: _IngestState) -> None:
    """Seal a volume, unless it or a copy of it is known as another subject's."""
    voxels, data, digest = _digests(tenant, item.volume)
    holder = state.owners.holder(tenant, item, voxels)
    if reason := state.owners.refusal(item, holder, voxels, state.stored):
        state.quarantined.append(Refused(item.source, reason))
        return
    state.owners.keep(item, voxels, holder)
    before = state.before.get((voxels, holder.pseudonym))
    volume = item.volume
    if before is not None:
        volume = owners.updated(tenant, item.volume, before)
        data = volume.to_bytes(reuse=True)
        digest = tenant.digest(data, "volume")
    stored = tenant.find("volume", digest) or tenant.put("volume", data, name=digest)
    entry = _entry(volume, stored, digest, voxels, holder)
    if before is not None:
        state.owners.compare(before, entry)
    if item.study:
        entry["study"] = item.study
    state.entries.append(entry)
    if state.stored is not None:
        state.stored.add(entry)


def _digests(tenant: Tenant, volume: Volume) -> tuple[str, memoryview, str]:
    """The keyed digest of the voxels, the bytes to be sealed, and their keyed digest.

    Of a large volume both at a time, and its likeness, which is needed next.
    """
    data = volume.to_bytes(reuse=True)
    if len(data) < memory.LARGE:
        return voxel_digest(tenant, volume.voxels), data, tenant.digest(data, "volume")
    with ThreadPoolExecutor(2, thread_name_prefix="digests") as threads:
        voxels = threads.submit(voxel_digest, tenant, volume.voxels)
        whole = threads.submit(tenant.digest, data, "volume")
        find_likeness(volume)
        return voxels.result(), data, whole.result()


def _entry(volume: Volume, stored: str, digest: str, voxels: str, holder: Holder) -> VolumeEntry:
    """The line of the manifest of a volume that is stored under its keyed digest."""
    entry: VolumeEntry = {
        "object": stored,
        "digest": digest,
        "voxels": voxels,
        "subject": holder.pseudonym,
        "own_subject": holder.own,
        "modality": volume.modality,
        "shape": list(volume.shape),
        "spacing": [round(step, 4) for step in volume.spacing],
        "mask": volume.mask is not None,
        "label_values": [] if volume.mask is None else _label_values(volume.mask),
        "label_boxes": {} if volume.mask is None else label_boxes(volume.mask),
    }
    note_likeness(entry, volume)
    if volume.channels:
        entry["channels"] = list(volume.channels)
    if volume.modalities:
        entry["modalities"] = list(volume.modalities)
    if volume.category is not None:
        entry["class"] = volume.category
    if volume.site is not None:
        entry["site"] = volume.site
    return entry


def _label_values(mask: npt.NDArray[np.uint8]) -> list[int]:
    """Numbers above 0 in a mask."""
    return [int(n) for n in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)) if n > 0]
