"""medvae repair"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import note, plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import IntegrityError
from medvae.space import words

AFTER = "verify"


def run(
    gc: Annotated[
        bool,
        typer.Option(
            "--gc",
            help="Also remove files older than a day that nothing refers to. After a rollback they "
            "are all that is left of the newer state: run log verify --anchor first.",
        ),
    ] = False,
    accept_older_catalogue: Annotated[
        bool,
        typer.Option(
            "--accept-older-catalogue",
            help="Go on from a catalogue.db of a backup that is older than keyring.json. Refused "
            "where budget that was spent would become unspent.",
        ),
    ] = False,
) -> int:
    """Move damaged files aside and list what is lost. Overwrites nothing."""
    if accept_older_catalogue:
        given_up = settings.session().accept_older_catalogue()
        note(f"The catalogue is taken as it is; {plural(given_up, 'commit')} or more are lost.")
    with progress() as bar:
        result = settings.session().repair(gc=gc, progress=bar)
    lost = result.lost
    lines = [f"{plural(result.objects, 'object')} read, {len(lost)} lost."]
    lines += [f"  {damage.object}: {damage.reason}" for damage in lost]
    lines += [f"  moved aside: {path}" for path in result.quarantined.values()]
    if result.collected is not None:
        gone = result.collected.staged + result.collected.orphans
        freed = words(result.collected.freed)
        lines.append(f"{plural(gone, 'unreferenced file')} removed ({freed}).")
    elif gc:
        lines.append("Nothing was removed, because objects are lost.")
    if lost:
        lines.append("Restore the lost objects from a backup, or delete what holds them.")
    show(result, lines)
    return IntegrityError.exit_code if lost else 0
