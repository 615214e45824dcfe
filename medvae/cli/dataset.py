"""medvae dataset list | show | declare | export | delete"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, objects, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import UsageError

app = typer.Typer(help="Data sets: immutable, versioned, by patient.", no_args_is_help=True)

_COLUMNS = ("dataset", "version", "subjects", "volumes", "masks", "modality", "created")


@app.command("list")
def list_() -> None:
    """The newest version of every data set."""
    found = settings.session().datasets.list()
    rows = [
        [", ".join(one.modality) if name == "modality" else getattr(one, name) for name in _COLUMNS]
        for one in found
    ]
    show({"datasets": objects(found)}, table(_COLUMNS, rows) if rows else ["No data set yet."])


@app.command("show")
def show_(ref: Annotated[str, typer.Argument(help="name or name@version")]) -> None:
    """Counts and geometry of a data set."""
    result = settings.session().datasets.show(ref)
    note("These figures are of private data: they stay in the tenant.")
    for remark in result.notes:
        note(f"Note: {remark}")
    show(result, [f"{key + ':':22}{json.dumps(value)}" for key, value in result.to_json().items()])


@app.command()
def declare(
    ref: Annotated[str, typer.Argument(help="name or name@version")],
    label_scheme: Annotated[
        str | None,
        typer.Option(
            help="Labels of the masks: 1=name,2=name, none, or a YAML, JSON, CSV or TSV file."
        ),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes; 0 for none.")] = None,
    files_are_patients: Annotated[
        bool,
        typer.Option("--files-are-patients", help="Subjects are single files: privacy per file."),
    ] = False,
    subjects_are_patients: Annotated[
        bool,
        typer.Option(
            "--subjects-are-patients",
            help="Every file was assigned to its patient (where an older version kept no record).",
        ),
    ] = False,
) -> None:
    """Declare facts of the protocol: a new version of the same volumes."""
    result = settings.session().datasets.declare(
        ref,
        label_scheme=label_scheme,
        classes=classes,
        files_are_patients=files_are_patients,
        subjects_are_patients=subjects_are_patients,
    )
    for remark in result.notes:
        note(f"Note: {remark}")
    declared = json.dumps(result.declared.to_json())
    name = f"{result.dataset}@{result.version}"
    show(result, [f"{name}: {declared}, unit of privacy: the {result.unit}."])


@app.command()
def export(
    ref: str,
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder.")],
) -> None:
    """Write the volumes as plain NIfTI, named by pseudonym. They leave the vault's protection."""
    with progress() as bar:
        result = settings.session().datasets.export(ref, out, bar)
    note("These are real patients' volumes in the open: protect the folder.")
    show(result, [f"{plural(len(result.files), 'file')} in {out}."])


@app.command()
def delete(
    ref: str, yes: Annotated[bool, typer.Option("--yes", help="Really delete.")] = False
) -> None:
    """Delete a version (name@2) or all versions (name), keys and all."""
    if not yes:
        raise UsageError(f"deleting {ref} cannot be undone; say --yes to do it")
    result = settings.session().datasets.delete(ref)
    deleted = ", ".join(result.deleted)
    show(result, [f"Deleted {deleted} and {plural(result.volumes, 'volume')}."])
