"""medvae log | log anchor | log verify | log export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medvae.cli.output import objects, plural, show, table
from medvae.cli.settings import settings
from medvae.errors import IntegrityError

if TYPE_CHECKING:
    from medvae.api.results import Event

AFTER = "release"

app = typer.Typer(help="The audit log.", invoke_without_command=True)


@app.callback()
def list_(context: typer.Context) -> None:
    """List the events of the audit log, oldest first."""
    if context.invoked_subcommand is not None:
        return
    events = settings.session().log.events()
    rows = [(e.time, e.event, e.outcome, _detail(e)) for e in events]
    show({"events": objects(events)}, table(("time", "event", "outcome", "detail"), rows))


def _detail(event: Event) -> str:
    details = [f"{key}={value}" for key, value in event.details.items()]
    # Written without keys, by anybody who can write to the disk.
    return " ".join([*details, "(not sealed)"] if event.record.get("unsealed") else details)


@app.command()
def verify(
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", help="File of medvae log anchor, to detect a rollback."),
    ] = None,
) -> int:
    """Check the chain and its signatures. A broken chain ends with exit code 4."""
    result = settings.session().log.verify(anchor)
    state = "unbroken" if result.valid else f"BROKEN: {result.problem}"
    signed = plural(result.checkpoints, "signed checkpoint")
    lines = [f"{plural(result.events, 'event')}, {signed}, {state}."]
    if anchor is not None and result.valid:
        lines.append(f"Nothing was rolled back since {plural(result.anchors, 'anchor')}.")
    show(result, lines)
    return 0 if result.valid else IntegrityError.exit_code


@app.command()
def anchor(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to append the anchor to, away from the vault."),
    ] = None,
) -> None:
    """Sign the present state, so that `log verify --anchor` can detect a rollback."""
    result = settings.session().log.anchor(out)
    added = f"Anchored at commit {result.sequence}; keep {out} away from the vault."
    show(result, [result.anchor if out is None else added])


@app.command()
def export(
    style: Annotated[
        str, typer.Option("--format", help="Format: json (lines) or syslog (RFC 5424).")
    ] = "json",
) -> None:
    """Print the audit log for another system, one line an event."""
    for line in settings.session().log.export(style):
        print(line)
