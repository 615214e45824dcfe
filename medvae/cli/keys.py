"""medvae keys rotate | reseal | recover | list | new | add | remove"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import UsageError

app = typer.Typer(help="Keys: epochs, recovery, recipients.", no_args_is_help=True)


@app.command()
def rotate() -> None:
    """A new epoch key; every data key is wrapped again (seconds)."""
    session = settings.session()
    epoch = session.tenant.rotate()
    show({"epoch": epoch}, [f"Epoch {epoch} is in force."])


@app.command()
def reseal() -> None:
    """New data keys for every object: needed when keys may have leaked. Can be interrupted."""
    with progress() as bar:
        count = settings.session().tenant.reseal(progress=bar)
    show({"resealed": count}, [f"{plural(count, 'object')} sealed anew."])


@app.command()
def recover(
    recovery: Annotated[Path, typer.Option(help="The recovery key of the tenant.")],
) -> None:
    """A new identity from the recovery key; the lost one stops working."""
    import os

    from medvae.api import default_identity
    from medvae.vault import Vault

    name = settings.tenant or os.environ.get("MEDVAE_TENANT")
    if not name:
        raise UsageError("name the tenant to recover with --tenant")
    identity = Path(settings.identity) if settings.identity else default_identity(name)
    secret = os.environ.get("MEDVAE_PASSPHRASE") or None
    Vault(settings.vault_path).recover(
        name, recovery=recovery, identity=identity, passphrase=secret
    )
    show({"identity": str(identity), "tenant": name}, [f"New identity: {identity}"])


@app.command("list")
def list_() -> None:
    """Who can open the tenant."""
    from medvae.api import keys

    found = keys.listing(settings.session().tenant)
    columns = ("fingerprint", "kind", "label", "added")
    rows = [[entry[column] for column in columns] for entry in found]
    show({"recipients": found}, table(columns, rows))


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="A new identity file; FILE.pub is made beside it.")],
) -> None:
    """Make an identity for a colleague; hand FILE.pub to somebody who can open the tenant."""
    import os

    from medvae.api import keys

    made = keys.new(path, os.environ.get("MEDVAE_PASSPHRASE") or None)
    show(made, [f"Identity: {made['identity']}", f"Public:   {made['public']}"])


@app.command()
def add(
    public: Annotated[Path, typer.Argument(help="The .pub file of medvae keys new.")],
    label: Annotated[str, typer.Option(help="Whose key it is.")] = "colleague",
) -> None:
    """Let another key open the tenant."""
    from medvae.api import keys

    made = keys.add(settings.session().tenant, public, label)
    show(made, [f"{made['added']} can open the tenant now."])


@app.command()
def remove(fingerprint: Annotated[str, typer.Argument(help="As keys list shows it.")]) -> None:
    """Take a key away: a new epoch begins that is not wrapped to it."""
    epoch = settings.session().tenant.remove_recipient(fingerprint)
    lines = [f"Removed; epoch {epoch} is in force. What that key has read already, it has read:"]
    lines += ["run medvae keys reseal if its data keys may have been copied."]
    show({"removed": fingerprint, "epoch": epoch}, lines)
