"""medvae keys rotate | reseal | recover | list | new | add | remove"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import objects, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import UsageError

AFTER = "tenant"

app = typer.Typer(help="Keys: epochs, recovery, recipients.", no_args_is_help=True)


@app.command()
def rotate() -> None:
    """Start a new epoch: a new tenant key, under which every data key is wrapped again."""
    result = settings.session().keys.rotate()
    show(result, [f"Epoch {result.epoch} is in force."])


@app.command()
def reseal() -> None:
    """Replace the data key of every object, when keys may have leaked. Can be interrupted."""
    with progress() as bar:
        result = settings.session().keys.reseal(progress=bar)
    show(result, [f"{plural(result.resealed, 'object')} have new data keys."])


@app.command()
def recover(
    recovery: Annotated[Path, typer.Option(help="File of the tenant's recovery key.")],
) -> None:
    """Make a new identity with the recovery key; then remove the lost one (keys remove)."""
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
    """List who can open the tenant."""
    recipients = settings.session().keys.list()
    columns = ("fingerprint", "kind", "label", "added", "approver")
    rows = [[getattr(recipient, column) for column in columns] for recipient in recipients]
    show({"recipients": objects(recipients)}, table(columns, rows))


@app.command()
def new(
    path: Annotated[
        Path, typer.Argument(help="Identity file to write; its public half goes to FILE.pub.")
    ],
) -> None:
    """Make an identity for yourself; give FILE.pub to somebody who can open the tenant."""
    from medvae.api import new_identity

    identity = new_identity(path)
    show(identity, [f"Identity: {identity.identity}", f"Public:   {identity.public}"])


@app.command()
def add(
    public: Annotated[
        Path | None, typer.Argument(help="File .pub that medvae keys new wrote.")
    ] = None,
    label: Annotated[str, typer.Option(help="Name of the key's holder.")] = "colleague",
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase",
            help="Add a passphrase (seven dice words or more) from MEDVAE_NEW_PASSPHRASE or the "
            "terminal. Whoever has the key ring can try to guess it.",
        ),
    ] = False,
) -> None:
    """Add a key, or a passphrase alone, that can open the tenant."""
    if (public is None) != passphrase:
        raise UsageError("give the .pub file of a key, or --passphrase")
    if public is None:
        added = settings.session().keys.add_passphrase(_new_passphrase(), label)
    else:
        added = settings.session().keys.add(public, label)
    show(added, [f"{added.added} can open the tenant now."])


def _new_passphrase() -> str:
    import os
    import sys

    passphrase = os.environ.get("MEDVAE_NEW_PASSPHRASE")
    if passphrase:
        return passphrase
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to type at: set MEDVAE_NEW_PASSPHRASE")
    typed: str = typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return typed


@app.command()
def remove(
    fingerprint: Annotated[
        str, typer.Argument(help="Fingerprint of the key, as keys list shows it.")
    ],
) -> None:
    """Remove a key: a new epoch starts that it cannot open."""
    result = settings.session().keys.remove(fingerprint)
    lines = [
        f"Removed; epoch {result.epoch} is in force. What that key has read already, it has read:",
        "run medvae keys reseal if its data keys may have been copied.",
    ]
    show(result, lines)
