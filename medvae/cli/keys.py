"""medvae keys rotate | reseal | recover"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import plural, show
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
