"""medvae audit"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.evaluate import Volumes
from medvae.cli.output import note, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings


def run(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    against: Annotated[
        str | None, typer.Option(help="A data set with patients that the model never saw.")
    ] = None,
    n: Volumes = 32,
) -> None:
    """Attack a model with its own patients: copies, and membership where --against is given."""
    with progress() as bar:
        result = settings.session().audit(model, against=against, n=n, progress=bar)
    note("An audit that finds nothing proves nothing: the guarantee is epsilon.")
    lines = [
        f"{'passed' if found['passed'] else 'FAILED'}  {found['name']}: {found['sentence']}"
        for found in result["findings"]
    ]
    lines += [f"not run {reason}" for reason in result.get("not_run", [])]
    show(result, [*lines, "Passed." if result["passed"] else "Not passed."])
