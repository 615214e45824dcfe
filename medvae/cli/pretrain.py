"""medvae pretrain"""

from __future__ import annotations

from typing import Annotated

import typer

from medvae.cli.output import show
from medvae.cli.plan import Config, Overrides
from medvae.cli.progress import progress
from medvae.cli.settings import settings


def run(
    config: Config,
    name: Annotated[str, typer.Option(help="Name of the new model.")],
    set_: Overrides = None,
) -> None:
    """Train the public stage on procedural volumes. No patient is involved."""
    with progress() as bar:
        result = settings.session().pretrain(config, name, overrides=set_ or [], progress=bar)
    show(result, [f"Model {name}: {result.parameters:,} parameters, public."])
