"""Data sets: immutable, versioned lists of sealed volumes, by patient pseudonym."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import declaration, export_tables
from medvae.api.files import REAL, bytes_of, filling, fresh_folder
from medvae.api.records import Contents, Declaration, Manifest, VolumeEntry
from medvae.api.results import DatasetDetail, DatasetExport, DatasetInfo, Extent
from medvae.errors import IntegrityError, NotFoundError, UsageError
from medvae.progress import Progress
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.vault import Tenant

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def check_name(name: str) -> None:
    """Refuse a name that could be read as a version or a path.

    Raises:
        UsageError: the name has other characters than letters, digits, `_`, `.`, `-`.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name: use letters, digits, '_', '.' and '-', at most 63 of them"
        )


def add_version(
    tenant: Tenant, name: str, entries: list[VolumeEntry], declared: Declaration
) -> tuple[Manifest, int, int]:
    """The newest version plus `entries` as the next version: the manifest, how many are new to
    it and how many took the place of an older entry.

    A scan is known by its voxels and its subject: one that the data set holds already takes its
    old entry's place. Where nothing changes the newest version stays the newest.
    """
    before = load(tenant, name) if version_numbers(tenant, name) else None
    volumes = {identity(entry): entry for entry in (before["volumes"] if before else ())}
    was = dict(volumes)
    volumes |= {identity(entry): entry for entry in entries}
    added = len(volumes) - len(was)
    updated = sum(volumes[key]["digest"] != entry["digest"] for key, entry in was.items())
    manifest = next_version(tenant, name, before, list(volumes.values()), declared)
    return manifest, added, updated


def identity(entry: VolumeEntry) -> tuple[str, str]:
    """What a scan is known by in a data set: the keyed digest of its voxels, and its subject."""
    return entry["voxels"], entry["subject"]


def newest_entries(tenant: Tenant, name: str) -> dict[tuple[str, str], VolumeEntry]:
    """The lines of the newest version by `identity`; empty where there is no such data set."""
    entries = load(tenant, name)["volumes"] if version_numbers(tenant, name) else ()
    return {identity(entry): entry for entry in entries}


def next_version(
    tenant: Tenant,
    name: str,
    before: Manifest | None,
    volumes: list[VolumeEntry],
    declared: Declaration,
) -> Manifest:
    """Store these volumes, declared as `before` unless `declared` says otherwise, as a version.

    Where they are those of the newest version, and declared the same, it stays the newest.
    """
    versions = version_numbers(tenant, name)
    was = declaration.UNDECLARED
    if before is not None:
        was = before.get("declared", declaration.UNDECLARED)
    facts: Contents = {
        "volumes": volumes,
        "declared": declaration.merged(was, declared),
        "unit": declaration.unit(volumes),
    }
    if versions:
        newest = load(tenant, name)
        if "declared" in newest:
            # An earlier version wrote nothing of what it did not know of.
            whole = declaration.merged(newest["declared"], declaration.UNDECLARED)
            newest = {**newest, "declared": whole}
        if all(newest.get(key) == value for key, value in facts.items()):
            return newest
    manifest: Manifest = {
        "name": name,
        "version": max(versions, default=0) + 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "volumes": volumes,
        "declared": facts["declared"],
        "unit": facts["unit"],
    }
    store(tenant, manifest)
    return manifest


def store(tenant: Tenant, manifest: Manifest) -> None:
    """Sign a manifest and store it as its version."""
    data = json.dumps(manifest, sort_keys=True).encode()
    signed = json.dumps({"manifest": data.decode(), "signature": tenant.sign(data).hex()})
    tenant.put("dataset", signed.encode(), name=f"{manifest['name']}@{manifest['version']}")


def version_numbers(tenant: Tenant, name: str) -> list[int]:
    """The version numbers of a data set; empty where there is none."""
    numbers = []
    for label in tenant.names("dataset"):
        base, _, version = label.rpartition("@")
        if base == name:
            numbers.append(int(version))
    return numbers


def resolve(tenant: Tenant, ref: str) -> str:
    """`name` becomes `name@newest`.

    Raises:
        NotFoundError: there is no such data set or version.
    """
    name, at, version = ref.partition("@")
    versions = version_numbers(tenant, name)
    if not versions:
        names = sorted({label.rpartition("@")[0] for label in tenant.names("dataset")})
        has = ", ".join(names) or "none"
        raise NotFoundError(f"tenant {tenant.name} has no data set {name!r}; it has: {has}")
    if not at:
        return f"{name}@{max(versions)}"
    if not (version.isdecimal() and len(version) <= 9 and int(version) in versions):
        has = ", ".join(str(v) for v in sorted(versions))
        raise NotFoundError(f"data set {name} has no version {version!r}; it has: {has}")
    return f"{name}@{int(version)}"


def object_of(tenant: Tenant, label: str) -> str:
    """The stored object of a version `name@version`.

    Raises:
        NotFoundError: there is no such version.
    """
    stored = tenant.find("dataset", label)
    if stored is None:
        raise NotFoundError(f"tenant {tenant.name} has no data set {label}")
    return stored


def load(tenant: Tenant, ref: str) -> Manifest:
    """A data set's manifest, its signature checked.

    Raises:
        NotFoundError: there is no such data set.
        IntegrityError: the manifest does not bear this tenant's signature or another's name.
    """
    from medvae.vault import verify_signature

    label = resolve(tenant, ref)
    signed = json.loads(tenant.get_named("dataset", label))
    data = signed["manifest"].encode()
    if not verify_signature(tenant.public_key(), bytes.fromhex(signed["signature"]), data):
        raise IntegrityError(f"the manifest of data set {label} is not signed by its tenant")
    manifest: Manifest = json.loads(data)
    if f"{manifest['name']}@{manifest['version']}" != label:
        raise IntegrityError(f"the manifest stored for {label} is that of another data set")
    return manifest


def digest(manifest: Manifest) -> bytes:
    """What a run binds itself to: this manifest and no other."""
    import hashlib

    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).digest()


def subjects(manifest: Manifest) -> list[str]:
    """The patients' pseudonyms, each once, in a fixed order."""
    return sorted({entry["subject"] for entry in manifest["volumes"]})


def every_entry(tenant: Tenant) -> Iterator[VolumeEntry]:
    """The lines of all manifests; a volume that several list comes several times."""
    for _, entry in labelled_entries(tenant):
        yield entry


def labelled_entries(tenant: Tenant) -> Iterator[tuple[str, VolumeEntry]]:
    """As `every_entry`, each with the label of its version."""
    for label in tenant.names("dataset"):
        for entry in load(tenant, label)["volumes"]:
            yield label, entry


def owners(tenant: Tenant) -> dict[str, str]:
    """Keyed digest of a volume's voxels -> the pseudonym that it is stored under."""
    return {entry["voxels"]: entry["subject"] for entry in every_entry(tenant)}


def open_volume(tenant: Tenant, entry: VolumeEntry) -> Volume:
    """One volume of a manifest, decrypted in memory and checked against its keyed digest.

    Raises:
        IntegrityError: the stored object is damaged or is not the one of the manifest.
    """
    data = tenant.get("volume", entry["object"])
    if tenant.digest(data, "volume") != entry["digest"]:
        raise IntegrityError(f"object {entry['object']} is not the volume that its data set lists")
    return Volume.from_bytes(data)


def modalities_in(entry: VolumeEntry) -> tuple[str, ...]:
    """The modality of each channel, or the one of all."""
    return tuple(entry.get("modalities", (entry["modality"],)))


def summary(manifest: Manifest) -> DatasetInfo:
    """Counts and declared facts of a version. The counts and notes are of private data."""
    volumes = manifest["volumes"]
    declared = manifest.get("declared", declaration.UNDECLARED)
    return DatasetInfo(
        dataset=manifest["name"],
        version=manifest["version"],
        created=manifest["created"],
        subjects=len(subjects(manifest)),
        volumes=len(volumes),
        modality=tuple(sorted({kind for entry in volumes for kind in modalities_in(entry)})),
        channels=tuple(dict.fromkeys(c for e in volumes for c in e.get("channels", ()))),
        masks=sum(entry["mask"] for entry in volumes),
        labels=len(declared["label_scheme"] or {}),
        classes=declared["classes"] or 0,
        declared=declaration.result(declared),
        unit=manifest.get("unit"),
        notes=tuple(declaration.notes(manifest)),
    )


def listing(tenant: Tenant) -> tuple[DatasetInfo, ...]:
    """The newest version of every data set."""
    names = sorted({label.rpartition("@")[0] for label in tenant.names("dataset")})
    return tuple(summary(load(tenant, name)) for name in names)


def show(tenant: Tenant, ref: str) -> DatasetDetail:
    """Counts and geometry of a data set. These are figures of private data: not for release."""
    manifest = load(tenant, ref)
    volumes = manifest["volumes"]
    per_subject = Counter(entry["subject"] for entry in volumes)
    axes = list(zip(*(entry["shape"] for entry in volumes), strict=True))
    steps = list(zip(*(entry["spacing"] for entry in volumes), strict=True))
    return DatasetDetail(
        **vars(summary(manifest)),
        versions=tuple(sorted(version_numbers(tenant, manifest["name"]))),
        volumes_per_subject=dict(sorted(Counter(per_subject.values()).items())),
        shape=_extent(axes),
        spacing=_extent(steps),
    )


def _extent(axes: list[tuple[float, ...]]) -> Extent:
    return Extent(tuple(min(axis) for axis in axes), tuple(max(axis) for axis in axes))


def export(tenant: Tenant, ref: str, out: Path, progress: Progress) -> DatasetExport:
    """Write NIfTI (of pictures PNG) files named by pseudonym, and tables to ingest them by again.

    It is the steward's decision, and logged as one.

    Raises:
        UsageError: `out` exists and is not an empty folder.
    """
    from medvae import modality as modalities
    from medvae.release import write_nifti, write_png

    manifest = load(tenant, ref)
    label = f"{manifest['name']}@{manifest['version']}"
    fresh_folder(out)
    tenant.record("export", dataset=label, volumes=len(manifest["volumes"]))
    counts: Counter[str] = Counter()
    files: list[Path] = []
    rows: list[dict[str, object]] = []
    size = 0
    progress.start(f"Exporting {label}", len(manifest["volumes"]))
    with filling(out) as room:
        for done, entry in enumerate(manifest["volumes"], 1):
            volume = open_volume(tenant, entry)
            # As if all were of the size of those so far.
            size += bytes_of(volume)
            room.needed = size * len(manifest["volumes"]) // done
            counts[entry["subject"]] += 1
            stem = f"{entry['subject']}_{counts[entry['subject']]}"
            written = (
                write_png(volume, out, stem, deep=True)
                if modalities.get(volume.modality).planar
                else write_nifti(volume, out, stem, description=REAL)
            )
            files += written
            images = written[: 1 if volume.is_cine else len(volume.channels) or 1]
            rows += [export_tables.row(image, entry, volume) for image in images]
            progress.advance(done)
        tables = export_tables.write(out, rows, manifest.get("declared", {}).get("label_scheme"))
    progress.finish()
    return DatasetExport(label, tuple(files), tables)
