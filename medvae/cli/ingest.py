"""medvae ingest"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medvae.cli.output import note, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.words import names_of

if TYPE_CHECKING:
    from medvae.api.results import IngestResult


def run(
    source: Annotated[
        list[Path], typer.Argument(help="Files, folders, zip archives or DICOMDIRs.")
    ],
    dataset: Annotated[str, typer.Option("-d", "--dataset", help="Name of the data set.")],
    subjects: Annotated[
        Path | None, typer.Option(help="CSV file with the columns filename and subject.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of masks named like the images (x or x_seg).")
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="mri, ct, pet; xray or photo for pictures. Needed where files do not say."
        ),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="CSV column to keep for evaluation; no model learns it.")
    ] = None,
    class_column: Annotated[
        str | None,
        typer.Option(
            help="CSV column with the class of a volume (0, 1, ...), which a model learns."
        ),
    ] = None,
    site_column: Annotated[
        str | None,
        typer.Option(
            help="CSV column with the hospital or scanner of a volume (default: site, where "
            "--sites declares some); its grey values are learnt apart."
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="Of cases with several contrasts the one to take (t1, 0000, T1w), or all, each as "
            "a volume of its case."
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Contrasts of one case that become the channels of one volume, such as "
            "t1,t2,flair: by the words of file names, of BIDS suffixes, of dataset.json (nnU-Net), "
            "or of series descriptions. Other images are left out."
        ),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(
            help="How the axes run of files that do not say it, such as LPS (to the left, to the "
            "back, to the head): Analyze, and headers without a direction."
        ),
    ] = None,
    label_scheme: Annotated[
        str | None,
        typer.Option(
            help="Declare the labels of the masks: 1=name,2=name, none, or a YAML, JSON, CSV or "
            "TSV file."
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Declare the number of classes; 0 for none.")
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="Declare the sites: names with commas, or none.")
    ] = None,
    files_are_patients: Annotated[
        bool,
        typer.Option(
            "--files-are-patients",
            help="Count each file that names no patient as a patient: privacy is then per file.",
        ),
    ] = False,
    demographics: Annotated[
        bool, typer.Option("--demographics", help="Keep the ten-year age group and the sex.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Confined processes that read at a time; more need more memory.")
    ] = 1,
    require_sandbox: Annotated[
        bool,
        typer.Option(
            "--require-sandbox",
            help="Refuse (exit code 5) where Landlock or seccomp is missing to confine readers.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and list everything, store nothing.")
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: a new .png of the first volumes. It shows patients."),
    ] = None,
) -> None:
    """Read scans, de-identify them and seal them as a data set."""
    with progress() as bar:
        result = settings.session().ingest(
            list(source),
            dataset,
            subjects=subjects,
            labels=labels,
            modality=modality,
            label_column=label_column,
            class_column=class_column,
            site_column=site_column,
            contrast=contrast,
            channels=[name.strip() for name in channels.split(",")] if channels else (),
            orientation=orientation,
            demographics=demographics,
            files_are_patients=files_are_patients,
            label_scheme=label_scheme,
            classes=classes,
            sites=None if sites is None else names_of(sites),
            workers=workers,
            require_sandbox=require_sandbox,
            dry_run=dry_run,
            sheet=sheet,
            progress=bar,
        )
    for remark in result.notes:
        note(f"Note: {remark}")
    if result.dry_run:
        show(result, _rehearsed(result))
        return
    lines = [
        f"{dataset}@{result.version}: {plural(result.volumes, 'volume')} of "
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
