"""medvae decode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import show
from medvae.cli.settings import settings
from medvae.cli.words import NewNifti

AFTER = "encode"


def run(
    model: Annotated[str, typer.Argument(help="Name of the model that encoded the scan.")],
    source: Annotated[Path, typer.Option("-i", "--input", help="File that medvae encode wrote.")],
    out: NewNifti,
) -> None:
    """Write the volume that a file of latents decodes to, on the scan's own grid."""
    result = settings.session().decode(model, source, out)
    show(result, [f"{out}: {' x '.join(map(str, result.shape))}"])
