"""medvae verify"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import IntegrityError

AFTER = "listen"


def run(
    dataset: Annotated[
        str | None, typer.Option("-d", "--dataset", help="Check this data set only.")
    ] = None,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Decrypt and authenticate every object too.")
    ] = False,
) -> int:
    """Check that stored objects are as they were written. Damage ends with exit code 4."""
    with progress() as bar:
        result = settings.session().verify(dataset, read_data=read_data, progress=bar)
    how = "read and authenticated" if read_data else "checked"
    lines = [f"{plural(result.objects, 'object')} {how}, {len(result.damaged)} damaged."]
    lines += [f"  {damage.object}: {damage.reason}" for damage in result.damaged]
    if result.unknown:
        lines.append(
            f"{plural(result.unknown, 'file')} that the catalogue does not know: an interrupted "
            "command left them, or the catalogue was put back to an older state (medvae log "
            "verify --anchor shows which)."
        )
    show(result, lines)
    return IntegrityError.exit_code if result.damaged else 0
