"""medvae ingest"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvae.cli.flags import flags
from medvae.cli.output import note, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.options.flags import arguments
from medvae.options.ingest import IngestOptions

if TYPE_CHECKING:
    from medvae.api.results import IngestResult

AFTER = "demo"


@flags(IngestOptions)
def run(options: IngestOptions) -> None:
    """Read scans, de-identify them and seal them as a data set."""
    with progress() as bar:
        result = settings.session().ingest(**arguments(options, bar))
    for remark in result.notes:
        note(f"Note: {remark}")
    if result.dry_run:
        show(result, _rehearsed(result))
        return
    lines = [
        f"{options.dataset}@{result.version}: {plural(result.volumes, 'volume')} of "
        f"{plural(result.subjects, result.unit or 'subject')} ({result.added} new"
        f"{f', {result.updated} updated' if result.updated else ''})."
    ]
    lines += [f"  refused {reason.line}" for reason in result.reasons]
    show(result, lines)


def _rehearsed(result: IngestResult) -> list[str]:
    """The table of a dry run."""
    rows = [
        [
            "/".join(Path(row.source).parts[-2:]),
            row.subject[:12],
            row.modality,
            " x ".join(map(str, row.shape)),
            " x ".join(f"{step:.3g}" for step in row.spacing),
            ", ".join(row.channels) or "-",
            ", ".join(map(str, row.labels[:8])) + (", ..." if len(row.labels) > 8 else "") or "-",
        ]
        for row in result.rows
    ]
    lines = table(("source", "subject", "modality", "voxels", "mm", "channels", "labels"), rows)
    lines += [f"  refused {reason.line}" for reason in result.reasons]
    would = (
        f"{plural(result.volumes, 'volume')} of {plural(result.subjects, result.unit or 'subject')}"
    )
    lines.append(f"Dry run: {would}, {result.added} of them new. Nothing was stored.")
    if result.sheet is not None:
        lines.append(f"{result.sheet} shows real patients: keep it inside the clinic.")
    return lines
