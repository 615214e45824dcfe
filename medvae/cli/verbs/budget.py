"""medvae budget"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import objects, show, table
from medvae.cli.settings import settings

AFTER = "train"


def run(
    dataset: Annotated[
        str | None,
        typer.Option("-d", "--dataset", help="Count the patients of this data set only."),
    ] = None,
) -> None:
    """Show the privacy budget of the most exposed patient."""
    result = settings.session().budget(dataset)
    lines = [
        f"Spent {result.spent:.4g} of {result.limit:g}; {result.remaining:.4g} left "
        f"(delta {result.delta:.3g})."
    ]
    if events := objects(result.events):
        lines += table(tuple(events[0]), [tuple(event.values()) for event in events])
    show(result, lines)
