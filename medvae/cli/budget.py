"""medvae budget"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import show, table
from medvae.cli.settings import settings


def run(
    dataset: Annotated[
        str | None, typer.Option("-d", "--dataset", help="Only the patients of this data set.")
    ] = None,
) -> None:
    """Epsilon spent and left, for the patient who has spent most."""
    result = settings.session().budget(dataset)
    events = result["events"]
    lines = [
        f"Spent {result['spent']:.4g} of {result['limit']:g}; {result['remaining']:.4g} left "
        f"(delta {result['delta']:.3g})."
    ]
    if events:
        columns = tuple(events[0])
        lines += table(columns, [[event[column] for column in columns] for event in events])
    show(result, lines)
