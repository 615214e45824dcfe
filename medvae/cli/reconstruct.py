"""medvae reconstruct"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, show
from medvae.cli.settings import settings


def run(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    source: Annotated[Path, typer.Option("-i", "--input", help="One scan.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A new .nii or .nii.gz file.")],
) -> None:
    """Encode and decode one scan, on its own grid and with its own geometry."""
    result = settings.session().reconstruct(model, source, out)
    note("The reconstruction shows the same person as the scan: it is not a synthetic volume.")
    line = f"{out}: PSNR {result['psnr']:.2f} dB, SSIM {result['ssim']:.3f}"
    if result["ms_ssim"] is not None:
        line += f", MS-SSIM {result['ms_ssim']:.3f}"
    show(result, [line])
