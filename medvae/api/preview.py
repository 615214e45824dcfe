"""Sheets of real scans, for a look at what was ingested or would be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import datasets
from medvae.api.files import new_file
from medvae.api.records import VolumeEntry
from medvae.api.results import DatasetPreview
from medvae.errors import UsageError
from medvae.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medvae.release.preview import Scan
    from medvae.vault import Tenant

MOST_SCANS = 24
PSEUDONYM = 12


def preview(tenant: Tenant, ref: str, out: Path, count: int, progress: Progress) -> DatasetPreview:
    """Draw `count` scans of a data set, of as many subjects as there are, and log that.

    Raises:
        UsageError: `out` is no new .png file, or `count` is not from 1 to `MOST_SCANS`.
    """
    from medvae.release.preview import scan_of

    new_picture(out)
    if not 1 <= count <= MOST_SCANS:
        raise UsageError(f"{count} volumes do not fit on a sheet: expected 1 to {MOST_SCANS}")
    manifest = datasets.load(tenant, ref)
    label = f"{manifest['name']}@{manifest['version']}"
    entries = _spread(manifest["volumes"], count)
    tenant.record("export", dataset=label, volumes=len(entries), format="png")
    progress.start(f"Drawing {label}", len(entries))
    scans = []
    for done, entry in enumerate(entries, 1):
        scans.append(scan_of(datasets.open_volume(tenant, entry), entry["subject"][:PSEUDONYM]))
        progress.advance(done)
    scheme = manifest.get("declared", {}).get("label_scheme")
    total = len(manifest["volumes"])
    write(out, scans, f"{label}: {len(scans)} of {total} volumes", scheme)
    progress.finish()
    return DatasetPreview(label, out, len(scans))


def new_picture(out: Path) -> Path:
    """Check the name of a sheet that is to be written. Raises UsageError."""
    if out.suffix.lower() != ".png":
        raise UsageError(f"-o {out} must end in .png")
    return new_file(out)


def write(out: Path, scans: Sequence[Scan], title: str, scheme: Mapping[str, str] | None) -> None:
    """Draw and write a sheet that only its owner may read."""
    from medvae.release.preview import sheet
    from medvae.vault import atomic_write

    atomic_write(out, sheet(scans, title, scheme))


def _spread(entries: Sequence[VolumeEntry], count: int) -> list[VolumeEntry]:
    """Evenly spread scans, one of each subject before the second of any."""
    counts: dict[str, int] = {}
    ranked = []
    for place, entry in enumerate(entries):
        rank = counts[entry["subject"]] = counts.get(entry["subject"], -1) + 1
        ranked.append((rank, place))
    if (first := sum(rank == 0 for rank, _ in ranked)) > count:
        places = [place for rank, place in ranked if rank == 0]
        return [entries[places[i * first // count]] for i in range(count)]
    return [entries[place] for _, place in sorted(ranked)[:count]]
