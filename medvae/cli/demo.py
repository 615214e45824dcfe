"""medvae demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import show
from medvae.cli.progress import progress
from medvae.cli.settings import settings


def run(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for cohort, vault and release.")
    ] = Path("demo-out"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Use smaller numbers on the same path (a minute).")
    ] = False,
) -> None:
    """Run the whole journey on 40 made-up patients. After Ctrl-C, run it again to go on."""
    from medvae.demo import run as journey

    with progress() as bar:
        result = journey(out, quick=quick, device=settings.device, progress=bar)
    lines = [
        f"Release: {result.release}",
        f"Report:  {result.report}",
        f"Epsilon {result.epsilon:.3g} for each of {result.patients} patients; "
        f"{result.volumes} synthetic volumes, signed and verified.",
    ]
    show(result, lines)
