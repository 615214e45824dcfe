"""medvae evaluate"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import note, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings

Volumes = Annotated[
    int, typer.Option("-n", help="Number of synthetic volumes to draw from a model.")
]


def run(
    what: Annotated[str, typer.Argument(help="Name of a model, or a folder of synthetic volumes.")],
    against: Annotated[str, typer.Option(help="Data set of real volumes.")],
    n: Volumes = 32,
    downstream: Annotated[
        bool,
        typer.Option(help="Train a segmentation on them too, where there are masks (minutes)."),
    ] = True,
    baselines: Annotated[
        bool,
        typer.Option(
            help="The same figures of the public people that the model draws, without any patient."
        ),
    ] = True,
) -> None:
    """Measure fidelity, diversity and downstream use of synthetic volumes against real ones."""
    with progress() as bar:
        result = settings.session().evaluate(
            what, against, n=n, downstream=downstream, baselines=baselines, progress=bar
        )
    note("Figures on private patients: they stay in the tenant.")
    others = list(result.baselines.values())
    rows = [
        (
            name,
            metric.value,
            *(None if (same := other.get(name)) is None else same.value for other in others),
            metric.real,
            metric.extractor or "",
        )
        for name, metric in result.metrics.items()
    ]
    lines = table(("figure", "synthetic", *result.baselines, "real half", "features"), rows)
    show(result, [*lines, *(f"not measured: {reason}" for reason in result.not_measured)])
