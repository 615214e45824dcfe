"""medvae audit"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from medvae.cli.evaluate import Volumes
from medvae.cli.output import note, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import UsageError


def run(
    model: Annotated[str | None, typer.Argument(help="Name of a model.")] = None,
    against: Annotated[
        str | None, typer.Option(help="A data set with patients that the model never saw.")
    ] = None,
    engine: Annotated[
        bool, typer.Option("--engine", help="Attack the gradient engine instead of a model.")
    ] = False,
    n: Volumes = 32,
) -> int:
    """Attack a model with its own patients, or the engine with canaries of its own."""
    if engine == (model is not None):
        raise UsageError("name a model, or say --engine to attack the engine itself")
    with progress() as bar:
        if model is None:
            from medvae.api import audit_engine

            result = audit_engine(progress=bar)
        else:
            result = settings.session().audit(model, against=against, n=n, progress=bar)
            note("An audit that finds nothing proves nothing: the guarantee is epsilon.")
    show(result, _lines(result))
    return 0


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{'passed' if found['passed'] else 'FAILED'}  {found['name']}: {found['sentence']}"
        for found in result["findings"]
    ]
    lines += [f"not run {reason}" for reason in result.get("not_run", [])]
    return [*lines, "Passed." if result["passed"] else "Not passed."]
