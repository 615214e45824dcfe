"""medvae dataset list | show | declare | export | delete"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from medvae.cli.output import note, objects, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.words import NewFolder, NewPicture
from medvae.errors import UsageError
from medvae.options.flags import names_of

AFTER = "keys"

app = typer.Typer(help="Data sets: immutable, versioned, by patient.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="Data set, as name or name@version.")]

_COLUMNS = ("dataset", "version", "subjects", "volumes", "masks", "modality", "created")


@app.command("list")
def list_() -> None:
    """List the newest version of every data set."""
    datasets = settings.session().datasets.list()
    rows = [
        [
            ", ".join(dataset.modality) if name == "modality" else getattr(dataset, name)
            for name in _COLUMNS
        ]
        for dataset in datasets
    ]
    show({"datasets": objects(datasets)}, table(_COLUMNS, rows) if rows else ["No data set yet."])


@app.command("show")
def show_(ref: Ref) -> None:
    """Show counts and geometry of a data set."""
    result = settings.session().datasets.show(ref)
    note("These figures are of private data: they stay in the tenant.")
    for remark in result.notes:
        note(f"Note: {remark}")
    show(result, [f"{key + ':':22}{json.dumps(value)}" for key, value in result.to_json().items()])


@app.command()
def declare(
    ref: Ref,
    label_scheme: Annotated[
        str | None,
        typer.Option(
            help="Labels of the masks: 1=name,2=name, none, or a YAML, JSON, CSV or TSV file."
        ),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes; 0 for none.")] = None,
    sites: Annotated[
        str | None,
        typer.Option(help="Hospitals or scanners in the data: names with commas, or none."),
    ] = None,
    files_are_patients: Annotated[
        bool,
        typer.Option(
            "--files-are-patients",
            help="Declare that each subject is one file: privacy is then per file.",
        ),
    ] = False,
    subjects_are_patients: Annotated[
        bool,
        typer.Option(
            "--subjects-are-patients",
            help="Declare that every file was assigned to its patient.",
        ),
    ] = False,
) -> None:
    """Declare facts of the protocol, as a new version of the same volumes."""
    result = settings.session().datasets.declare(
        ref,
        label_scheme=label_scheme,
        classes=classes,
        sites=None if sites is None else names_of(sites),
        files_are_patients=files_are_patients,
        subjects_are_patients=subjects_are_patients,
    )
    for remark in result.notes:
        note(f"Note: {remark}")
    declared = json.dumps(result.declared.to_json())
    name = f"{result.dataset}@{result.version}"
    show(result, [f"{name}: {declared}, unit of privacy: the {result.unit}."])


@app.command()
def preview(
    ref: Ref,
    out: NewPicture,
    volumes: Annotated[int, typer.Option(help="How many volumes to show, 1 to 24.")] = 6,
) -> None:
    """Draw some volumes in three planes with their masks, to see that they were read right."""
    with progress() as bar:
        result = settings.session().datasets.preview(ref, out, volumes=volumes, progress=bar)
    note("The picture shows real patients: keep it inside the clinic.")
    show(result, [f"{plural(result.volumes, 'volume')} of {result.dataset} in {out}."])


@app.command()
def export(
    ref: Ref,
    out: NewFolder,
) -> None:
    """Write the volumes as plain NIfTI, named by pseudonym. They leave the vault's protection."""
    with progress() as bar:
        result = settings.session().datasets.export(ref, out, bar)
    note("These are real patients' volumes in the open: protect the folder.")
    show(result, [f"{plural(len(result.files), 'file')} in {out}."])


@app.command()
def delete(ref: Ref, yes: Annotated[bool, typer.Option("--yes", help="Confirm.")] = False) -> None:
    """Delete a version (name@2) or all versions (name) and their keys."""
    if not yes:
        raise UsageError(f"deleting {ref} cannot be undone; say --yes to do it")
    result = settings.session().datasets.delete(ref)
    deleted = ", ".join(result.deleted)
    show(result, [f"Deleted {deleted} and {plural(result.volumes, 'volume')}."])
