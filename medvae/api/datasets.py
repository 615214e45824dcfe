"""Data sets: immutable, versioned lists of sealed volumes, by patient pseudonym."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvae.api import declaration
from medvae.api.files import REAL, fresh_folder
from medvae.errors import IntegrityError, NotFoundError, UsageError
from medvae.progress import Progress
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.vault import Tenant

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

Manifest = dict[str, Any]
Stored = dict[str, dict[str, str | None]]


def check_name(name: str) -> None:
    """Refuse what could not be told from a version or a path.

    Raises:
        UsageError: the name has other characters than letters, digits, `_`, `.`, `-`.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name: use letters, digits, '_', '.' and '-', at most 63 of them"
        )


def add_version(
    tenant: Tenant, name: str, entries: list[dict[str, Any]], declared: dict[str, Any]
) -> tuple[Manifest, int]:
    """The newest version plus `entries` as the next version; the manifest and the number added.

    A volume that the data set already holds for the same patient adds nothing; where nothing
    is added and nothing else is declared the newest version stays the newest.
    """
    before = load(tenant, name) if _versions(tenant, name) else None
    volumes = list(before["volumes"]) if before else []
    known = {(entry["digest"], entry["subject"]) for entry in volumes}
    fresh = []
    for entry in entries:
        key = (entry["digest"], entry["subject"])
        if key not in known:
            known.add(key)
            fresh.append(entry)
    return next_version(tenant, name, before, [*volumes, *fresh], declared), len(fresh)


def next_version(
    tenant: Tenant,
    name: str,
    before: Manifest | None,
    volumes: list[dict[str, Any]],
    declared: dict[str, Any],
) -> Manifest:
    """Store these volumes, declared as `before` unless `declared` says otherwise, as a version.

    Where they are those of the newest version, and declared the same, it stays the newest.
    """
    versions = _versions(tenant, name)
    was = declaration.UNDECLARED if before is None else before.get("declared", {})
    facts = {
        "volumes": volumes,
        "declared": declaration.merged(was, declared),
        "unit": declaration.unit(volumes),
    }
    if versions:
        newest = load(tenant, name)
        if all(newest.get(key) == value for key, value in facts.items()):
            return newest
    manifest = {
        "name": name,
        "version": max(versions, default=0) + 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    } | facts
    _store(tenant, manifest)
    return manifest


def _store(tenant: Tenant, manifest: Manifest) -> None:
    data = json.dumps(manifest, sort_keys=True).encode()
    signed = json.dumps({"manifest": data.decode(), "signature": tenant.sign(data).hex()})
    tenant.put("dataset", signed.encode(), name=f"{manifest['name']}@{manifest['version']}")


def _versions(tenant: Tenant, name: str) -> list[int]:
    found = []
    for label in tenant.names("dataset"):
        base, _, version = label.rpartition("@")
        if base == name:
            found.append(int(version))
    return found


def resolve(tenant: Tenant, ref: str) -> str:
    """`name` becomes `name@newest`.

    Raises:
        NotFoundError: there is no such data set or version.
    """
    name, at, version = ref.partition("@")
    versions = _versions(tenant, name)
    if not versions:
        known = sorted({label.rpartition("@")[0] for label in tenant.names("dataset")})
        has = ", ".join(known) or "none"
        raise NotFoundError(f"tenant {tenant.name} has no data set {name!r}; it has: {has}")
    if not at:
        return f"{name}@{max(versions)}"
    if not version.isdigit() or int(version) not in versions:
        has = ", ".join(str(v) for v in sorted(versions))
        raise NotFoundError(f"data set {name} has no version {version!r}; it has: {has}")
    return f"{name}@{int(version)}"


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


def every_entry(tenant: Tenant) -> Iterator[dict[str, Any]]:
    """The lines of all manifests; a volume that several list comes several times."""
    for label in tenant.names("dataset"):
        yield from load(tenant, label)["volumes"]


def owners(tenant: Tenant) -> dict[str, str]:
    """Keyed digest of a volume's voxels -> the pseudonym that it is stored under."""
    return {entry["voxels"]: entry["subject"] for entry in every_entry(tenant)}


def open_volume(tenant: Tenant, entry: dict[str, Any]) -> Volume:
    """One volume of a manifest, decrypted in memory and checked against its keyed digest.

    Raises:
        IntegrityError: the stored object is damaged or is not the one of the manifest.
    """
    data = tenant.get("volume", entry["object"])
    if tenant.digest(data, "volume") != entry["digest"]:
        raise IntegrityError(f"object {entry['object']} is not the volume that its data set lists")
    return Volume.from_bytes(data)


def summary(manifest: Manifest) -> dict[str, Any]:
    """Counts and declared facts of a version. The counts and notes are of private data."""
    volumes = manifest["volumes"]
    declared = manifest.get("declared", declaration.UNDECLARED)
    return {
        "dataset": manifest["name"],
        "version": manifest["version"],
        "created": manifest["created"],
        "subjects": len(subjects(manifest)),
        "volumes": len(volumes),
        "modality": sorted({entry["modality"] for entry in volumes}),
        "masks": sum(entry["mask"] for entry in volumes),
        "labels": len(declared["label_scheme"] or {}),
        "classes": declared["classes"] or 0,
        "declared": declared,
        "unit": manifest.get("unit"),
        "notes": declaration.notes(manifest),
    }


def listing(tenant: Tenant) -> list[dict[str, Any]]:
    """The newest version of every data set."""
    names = sorted({label.rpartition("@")[0] for label in tenant.names("dataset")})
    return [summary(load(tenant, name)) for name in names]


def show(tenant: Tenant, ref: str) -> dict[str, Any]:
    """Counts and geometry of a data set. These are figures of private data: not for release."""
    manifest = load(tenant, ref)
    volumes = manifest["volumes"]
    per_subject = Counter(entry["subject"] for entry in volumes)
    axes = list(zip(*(entry["shape"] for entry in volumes), strict=True))
    steps = list(zip(*(entry["spacing"] for entry in volumes), strict=True))
    return summary(manifest) | {
        "versions": sorted(_versions(tenant, manifest["name"])),
        "volumes_per_subject": dict(sorted(Counter(per_subject.values()).items())),
        "shape": {"min": [min(a) for a in axes], "max": [max(a) for a in axes]},
        "spacing": {"min": [min(s) for s in steps], "max": [max(s) for s in steps]},
    }


def export(tenant: Tenant, ref: str, out: Path, progress: Progress) -> dict[str, Any]:
    """Write plain NIfTI files named by pseudonym: the steward's decision, and logged as one.

    Raises:
        UsageError: `out` exists and is not an empty folder.
    """
    from medvae.release import write_nifti

    manifest = load(tenant, ref)
    label = f"{manifest['name']}@{manifest['version']}"
    fresh_folder(out)
    tenant.record("export", dataset=label, volumes=len(manifest["volumes"]))
    counts: Counter[str] = Counter()
    files = []
    progress.start(f"Exporting {label}", len(manifest["volumes"]))
    for done, entry in enumerate(manifest["volumes"], 1):
        volume = open_volume(tenant, entry)
        counts[entry["subject"]] += 1
        stem = f"{entry['subject']}_{counts[entry['subject']]}"
        files += write_nifti(volume, out, stem, description=REAL)
        progress.advance(done)
    progress.finish()
    return {"dataset": label, "files": [str(path) for path in files]}


def delete(tenant: Tenant, ref: str) -> dict[str, Any]:
    """Delete one version (`name@2`) or all (`name`), and the volumes nobody else holds.

    Raises:
        NotFoundError: there is no such data set.
        IntegrityError: the catalogue is not whole; nothing was deleted.
    """
    resolve(tenant, ref)
    name, at, _ = ref.partition("@")
    with tenant.writer():
        stored = tenant.inventory()
        kept = _manifests(tenant, stored)
        doomed = [resolve(tenant, ref)] if at else [f"{name}@{v}" for v in _versions(tenant, name)]
        for label in doomed:
            del kept[label]
        with tenant.transaction():
            for label in doomed:
                tenant.delete("dataset", _object(tenant, label))
            lost = _sweep(tenant, kept, stored)
        tenant.record("dataset delete", dataset=ref, volumes=lost)
    return {"deleted": sorted(doomed), "volumes": lost}


def _object(tenant: Tenant, label: str) -> str:
    stored = tenant.find("dataset", label)
    if stored is None:
        raise NotFoundError(f"tenant {tenant.name} has no data set {label}")
    return stored


def _manifests(tenant: Tenant, stored: Stored) -> dict[str, Manifest]:
    """Every version of every data set by its label; all that they list is stored.

    Raises:
        IntegrityError: a listed volume is not stored: what is deleted then is not all there is.
    """
    labels = [label for label in stored.get("dataset", {}).values() if label is not None]
    manifests = {label: load(tenant, label) for label in sorted(labels)}
    for label, manifest in manifests.items():
        for entry in manifest["volumes"]:
            if entry["object"] not in stored.get("volume", {}):
                raise IntegrityError(
                    f"data set {label} lists volume {entry['object']}, which the catalogue does "
                    "not hold; nothing was deleted: restore the catalogue from a backup"
                )
    return manifests


def _sweep(tenant: Tenant, kept: dict[str, Manifest], stored: Stored) -> int:
    """Delete every volume that no manifest of `kept` lists; the writer lock is held.

    stored: the tenant's proven inventory, from before this transaction. What an interrupted
    ingest sealed and never listed goes as well.
    """
    listed = {entry["object"] for manifest in kept.values() for entry in manifest["volumes"]}
    doomed = [volume for volume in stored.get("volume", {}) if volume not in listed]
    for volume in doomed:
        tenant.delete("volume", volume)
    return len(doomed)


def erase_subject(tenant: Tenant, source_id: str) -> dict[str, Any]:
    """Remove a patient from every version of every data set.

    The ledger keeps the patient's events under the pseudonym (a budget is never refunded);
    the models that were trained on the patient are named, for the steward to decide on.

    Raises:
        NotFoundError: no data set holds this patient.
        IntegrityError: the catalogue is not whole; nothing was erased.
    """
    pseudonym = tenant.pseudonym(source_id)
    with tenant.writer():
        stored = tenant.inventory()
        manifests = _manifests(tenant, stored)
        kept = {
            label: m | {"volumes": [e for e in m["volumes"] if e["subject"] != pseudonym]}
            for label, m in manifests.items()
        }
        changed = sorted(label for label in kept if kept[label] != manifests[label])
        if not changed:
            raise NotFoundError(f"no data set of tenant {tenant.name} holds patient {source_id!r}")
        models = _models_of(tenant, pseudonym)
        with tenant.transaction():
            for label in changed:
                tenant.delete("dataset", _object(tenant, label))
                if kept[label]["volumes"]:
                    _store(tenant, kept[label])
            lost = _sweep(tenant, kept, stored)
        tenant.record("subject erase", subject=pseudonym, volumes=lost, datasets=changed)
    return {"subject": pseudonym, "datasets": changed, "volumes": lost, "models": models}


def _models_of(tenant: Tenant, pseudonym: str) -> list[str]:
    """Every run that was charged to this patient, from the ledger, and what came from it."""
    from medvae.api.models import compression_of
    from medvae.api.training import ledger

    book = ledger(tenant)
    charged = {entry["run"].partition("#")[0] for entry in book.history([pseudonym])}
    notes = {name: compression_of(tenant, name) for name in tenant.names("compression")}
    smaller = {name for name, note in notes.items() if note and note["source"] in charged}
    return sorted(charged | smaller)


def verify(tenant: Tenant, ref: str | None, read_data: bool, progress: Progress) -> dict[str, Any]:
    """Check stored objects; `read_data` also decrypts them all.

    The result lists the damage; the command line turns any into exit code 4. `unknown` counts
    files that the catalogue does not know: a crash leaves some, and so does a catalogue that
    was put back to an older state.
    """
    only = None
    if ref is not None:
        manifest = load(tenant, ref)
        only = {entry["object"] for entry in manifest["volumes"]}
        only.add(_object(tenant, f"{manifest['name']}@{manifest['version']}"))
    report = tenant.verify(read_data=read_data, only=only, progress=progress)
    damaged = [{"object": d.object, "reason": d.reason} for d in report.damaged]
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
    return {
        "objects": report.objects,
        "damaged": damaged,
        "unknown": unknown,
        "read_data": read_data,
    }


def _lost_volumes(tenant: Tenant) -> list[dict[str, str]]:
    """Volumes that a data set lists and the catalogue no longer knows."""
    lost = []
    for label in tenant.names("dataset"):
        for entry in load(tenant, label)["volumes"]:
            if tenant.find("volume", entry["digest"]) != entry["object"]:
                reason = f"missing: listed by {label}, not in the catalogue"
                lost.append({"object": entry["object"], "reason": reason})
    return lost
