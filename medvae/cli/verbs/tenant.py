"""medvae tenant create | list | erase"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, objects, show, table
from medvae.cli.settings import settings
from medvae.errors import UsageError

AFTER = "config"

# Characters below which a passphrase is called short (as `keys add --passphrase` refuses it).
SHORT = 20

app = typer.Typer(
    help="Tenants: the unit of isolation, each with its own keys.", no_args_is_help=True
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the tenant: letters, digits, '-' and '_'.")],
    recovery_out: Annotated[
        Path | None, typer.Option(help="File for the recovery key; move it off this machine.")
    ] = None,
    epsilon_limit: Annotated[
        float, typer.Option(help="Largest epsilon that may be spent on one patient, at most 50.")
    ] = 20.0,
    delta: Annotated[
        float,
        typer.Option(help="Delta of every plan and account; at most 1e-5 and 1/(10 x patients)."),
    ] = 1e-5,
    store: Annotated[
        str, typer.Option(help="Store of sealed objects: local, or s3://BUCKET/PREFIX.")
    ] = "local",
    approvals: Annotated[
        int,
        typer.Option(
            min=0,
            max=1,
            help="Approvals that each release needs, of an identity that did not make it: 0 or 1.",
        ),
    ] = 0,
) -> None:
    """Create a tenant: its keys, its store, and a drill that proves the recovery key."""
    from medvae.api import create_tenant, default_identity

    identity = Path(settings.identity) if settings.identity else default_identity(name)
    recovery = recovery_out or identity.parent / f"{name}.recovery"
    create_tenant(
        settings.vault_path,
        name,
        identity=identity,
        recovery=recovery,
        epsilon_limit=epsilon_limit,
        delta=delta,
        store=store,
        approvals=approvals,
    )
    _advise(os.environ.get("MEDVAE_PASSPHRASE"))
    result = {"tenant": name, "identity": str(identity), "recovery": str(recovery)}
    lines = [
        f"Tenant {name} is ready in {settings.vault_path}.",
        f"Identity:  {identity}",
        f"Recovery:  {recovery}  (keep it off this machine; it opens everything)",
    ]
    facts = {"epsilon_limit": epsilon_limit, "delta": delta, "store": store, "approvals": approvals}
    show(result | {"vault": str(settings.vault_path)} | facts, lines)


def _advise(passphrase: str | None) -> None:
    """Say what a missing or short passphrase means; the machine may guard the file enough."""
    if not passphrase:
        state = "is not set" if passphrase is None else "is empty"
        note(
            f"Note: MEDVAE_PASSPHRASE {state}, so the identity file has no passphrase: whoever "
            "copies it opens the tenant."
        )
    elif len(passphrase) < SHORT:
        note(
            f"Note: the passphrase has {len(passphrase)} characters and can be guessed by whoever "
            f"copies the identity file: seven dice words, or {SHORT} characters, cannot."
        )


@app.command("list")
def list_() -> None:
    """List the tenants of the vault."""
    from medvae.api import tenants

    infos = tenants(settings.vault_path)
    rows = [(info.tenant, info.created, info.epoch) for info in infos]
    lines = table(("tenant", "created", "epoch"), rows) if rows else ["No tenant yet."]
    show({"tenants": objects(infos)}, lines)


@app.command()
def erase(
    name: Annotated[str, typer.Argument(help="Name of the tenant.")],
    yes: Annotated[bool, typer.Option("--yes", help="Confirm; there is no way back.")] = False,
    keys_only: Annotated[
        bool,
        typer.Option(
            "--keys-only",
            help="Leave the sealed objects of a store elsewhere (s3://), which can only be removed "
            "with an identity of the tenant.",
        ),
    ] = False,
) -> None:
    """Erase a tenant by destroying its keys."""
    from medvae.api import erase_tenant

    if not yes:
        raise UsageError(f"erasing tenant {name} cannot be undone; say --yes to do it")
    result = erase_tenant(
        settings.vault_path, name, identity=settings.identity, keys_only=keys_only
    )
    note("Backups that hold the old keys and an identity can still open the old data.")
    show(result, [f"Tenant {name} is erased."])
