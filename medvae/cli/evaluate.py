"""medvae evaluate"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import note, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings

Volumes = Annotated[int, typer.Option("-n", help="Synthetic volumes to draw from a model.")]


def run(
    what: Annotated[str, typer.Argument(help="A model, or a folder of synthetic volumes.")],
    against: Annotated[str, typer.Option(help="A data set of real volumes.")],
    n: Volumes = 32,
    downstream: Annotated[
        bool,
        typer.Option(help="Also train a segmentation on them, where there are masks (minutes)."),
    ] = True,
) -> None:
    """Fidelity, diversity and use of synthetic volumes beside real ones."""
    with progress() as bar:
        result = settings.session().evaluate(
            what, against, n=n, downstream=downstream, progress=bar
        )
    note("Figures on private patients: they stay in the tenant.")
    rows = [
        (name, metric.value, metric.real, metric.extractor or "")
        for name, metric in result.metrics.items()
    ]
    show(result, table(("figure", "synthetic", "real half", "features"), rows))
