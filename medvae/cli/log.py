"""medvae log | log verify | log export"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import show, table
from medvae.cli.settings import settings
from medvae.errors import IntegrityError

app = typer.Typer(help="The audit trail.", invoke_without_command=True)


@app.callback()
def list_(context: typer.Context) -> None:
    """The audit trail, oldest first."""
    if context.invoked_subcommand is not None:
        return
    events = settings.session().events()
    rows = [(e["time"], e["event"], e["outcome"], _detail(e)) for e in events]
    show({"events": events}, table(("time", "event", "outcome", "detail"), rows))


def _detail(event: dict[str, object]) -> str:
    details = event["details"]
    assert isinstance(details, dict)
    return " ".join(f"{key}={value}" for key, value in details.items())


@app.command()
def verify() -> int:
    """Check the chain and its signed checkpoints. A broken one ends with exit code 4."""
    report = settings.session().tenant.verify_log()
    result = {
        "valid": report.valid,
        "events": report.events,
        "checkpoints": report.checkpoints,
        "head": report.head,
        "problem": report.problem,
    }
    state = "unbroken" if report.valid else f"BROKEN: {report.problem}"
    lines = [
        f"{report.events} events, {report.checkpoints} signed checkpoints, {state}.",
        f"Head: {report.head}  (keep it elsewhere, and a rollback can be told)",
    ]
    show(result, lines)
    return 0 if report.valid else IntegrityError.exit_code


@app.command()
def export(
    style: Annotated[
        str, typer.Option("--format", help="json (lines) or syslog (RFC 5424)")
    ] = "json",
) -> None:
    """The audit trail for another system, a line an event, on stdout."""
    for line in settings.session().tenant.export_log(style):
        print(line)
