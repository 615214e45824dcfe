"""medvae encode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, show, size
from medvae.cli.settings import settings
from medvae.cli.words import Model, Scan


def run(
    model: Model,
    source: Scan,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write: a new .safetensors.")],
) -> None:
    """Write the latents of a scan (posterior means of its tiles) as safetensors."""
    result = settings.session().encode(model, source, out)
    note("Latents show the same person as the scan: protect the file.")
    line = f"{out}: {size(result.bytes)}, {result.ratio:.1f} times smaller than the voxels"
    show(result, [f"{line} ({size(result.source_bytes)} on disk)."])
