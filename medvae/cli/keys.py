"""medvae keys rotate | reseal | recover | list | new | add | remove"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import objects, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import UsageError

app = typer.Typer(help="Keys: epochs, recovery, recipients.", no_args_is_help=True)


@app.command()
def rotate() -> None:
    """A new epoch key; every data key is wrapped again (seconds)."""
    result = settings.session().keys.rotate()
    show(result, [f"Epoch {result.epoch} is in force."])


@app.command()
def reseal() -> None:
    """New data keys for every object: needed when keys may have leaked. Can be interrupted."""
    with progress() as bar:
        result = settings.session().keys.reseal(progress=bar)
    show(result, [f"{plural(result.resealed, 'object')} have new data keys."])


@app.command()
def recover(
    recovery: Annotated[Path, typer.Option(help="The recovery key of the tenant.")],
) -> None:
    """A new identity from the recovery key; keys remove takes the lost one's access away."""
    import os

    from medvae.api import recover_tenant

    name = settings.tenant or os.environ.get("MEDVAE_TENANT")
    if not name:
        raise UsageError("name the tenant to recover with --tenant")
    result = recover_tenant(
        settings.vault_path, name, recovery=recovery, identity=settings.identity
    )
    lines = [
        f"New identity: {result.identity}",
        "The lost identity still opens the tenant: find it with keys list, then keys remove it.",
    ]
    show(result, lines)


@app.command("list")
def list_() -> None:
    """Who can open the tenant."""
    found = settings.session().keys.list()
    columns = ("fingerprint", "kind", "label", "added")
    rows = [[getattr(one, column) for column in columns] for one in found]
    show({"recipients": objects(found)}, table(columns, rows))


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="A new identity file; FILE.pub is made beside it.")],
) -> None:
    """Make an identity for a colleague; hand FILE.pub to somebody who can open the tenant."""
    from medvae.api import new_identity

    made = new_identity(path)
    show(made, [f"Identity: {made.identity}", f"Public:   {made.public}"])


@app.command()
def add(
    public: Annotated[Path | None, typer.Argument(help="The .pub file of medvae keys new.")] = None,
    label: Annotated[str, typer.Option(help="Whose key it is.")] = "colleague",
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase",
            help="A passphrase alone, of seven dice words or more, from MEDVAE_NEW_PASSPHRASE or "
            "typed twice. Whoever has the key ring can try to guess it.",
        ),
    ] = False,
) -> None:
    """Let another key, or a passphrase alone, open the tenant."""
    if (public is None) != passphrase:
        raise UsageError("give the .pub file of a key, or --passphrase")
    if public is None:
        made = settings.session().keys.add_passphrase(_new_passphrase(), label)
    else:
        made = settings.session().keys.add(public, label)
    show(made, [f"{made.added} can open the tenant now."])


def _new_passphrase() -> str:
    import os
    import sys

    given = os.environ.get("MEDVAE_NEW_PASSPHRASE")
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to type at: set MEDVAE_NEW_PASSPHRASE")
    typed: str = typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return typed


@app.command()
def remove(fingerprint: Annotated[str, typer.Argument(help="As keys list shows it.")]) -> None:
    """Take a key away: a new epoch begins that is not wrapped to it."""
    result = settings.session().keys.remove(fingerprint)
    lines = [
        f"Removed; epoch {result.epoch} is in force. What that key has read already, it has read:",
        "run medvae keys reseal if its data keys may have been copied.",
    ]
    show(result, lines)
