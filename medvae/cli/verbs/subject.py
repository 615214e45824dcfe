"""medvae subject erase"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import plural, show
from medvae.cli.settings import settings
from medvae.errors import UsageError

AFTER = "anatomy"

app = typer.Typer(help="Patients, by their id in the source.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Patients, by their id in the source."""


@app.command()
def erase(
    subject: Annotated[str, typer.Argument(help="Id of the patient, as in the source.")],
    yes: Annotated[bool, typer.Option("--yes", help="Confirm; there is no way back.")] = False,
) -> None:
    """Erase a patient's volumes everywhere and list the models trained on the patient."""
    if not yes:
        raise UsageError("erasing a patient cannot be undone; say --yes to do it")
    result = settings.session().datasets.erase_subject(subject)
    lines = [f"Erased {plural(result.volumes, 'volume')} of {result.subject}."]
    if result.models:
        lines.append("Models trained on this patient: " + ", ".join(result.models))
    show(result, lines)
