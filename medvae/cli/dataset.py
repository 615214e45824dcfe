"""medvae dataset list | show | export | delete"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import UsageError

app = typer.Typer(help="Data sets: immutable, versioned, by patient.", no_args_is_help=True)

_COLUMNS = ("dataset", "version", "subjects", "volumes", "masks", "modality", "created")


@app.command("list")
def list_() -> None:
    """The newest version of every data set."""
    found = settings.session().datasets()
    rows = [[", ".join(d[c]) if c == "modality" else d[c] for c in _COLUMNS] for d in found]
    show({"datasets": found}, table(_COLUMNS, rows) if rows else ["No data set yet."])


@app.command("show")
def show_(ref: Annotated[str, typer.Argument(help="name or name@version")]) -> None:
    """Counts and geometry of a data set."""
    result = settings.session().dataset(ref)
    note("These figures are of private data: they stay in the tenant.")
    show(result, [f"{key + ':':22}{json.dumps(value)}" for key, value in result.items()])


@app.command()
def export(
    ref: str,
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder.")],
) -> None:
    """Write the volumes as plain NIfTI, named by pseudonym. They leave the vault's protection."""
    with progress() as bar:
        result = settings.session().export_dataset(ref, out, bar)
    note("These are real patients' volumes in the open: protect the folder.")
    show(result, [f"{plural(len(result['files']), 'file')} in {out}."])


@app.command()
def delete(
    ref: str, yes: Annotated[bool, typer.Option("--yes", help="Really delete.")] = False
) -> None:
    """Delete a version (name@2) or all versions (name), keys and all."""
    if not yes:
        raise UsageError(f"deleting {ref} cannot be undone; say --yes to do it")
    result = settings.session().delete_dataset(ref)
    deleted = ", ".join(result["deleted"])
    show(result, [f"Deleted {deleted} and {plural(result['volumes'], 'volume')}."])
