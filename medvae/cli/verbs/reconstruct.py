"""medvae reconstruct"""

from __future__ import annotations

from medvae.cli.output import note, show
from medvae.cli.settings import settings
from medvae.cli.words import Model, NewNifti, Scan

AFTER = "decode"


def run(model: Model, source: Scan, out: NewNifti) -> None:
    """Encode and decode one scan, on its own grid and with its own geometry."""
    result = settings.session().reconstruct(model, source, out)
    note("The reconstruction shows the same person as the scan: it is not a synthetic volume.")
    line = f"{out}: PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.3f}"
    if result.ms_ssim is not None:
        line += f", MS-SSIM {result.ms_ssim:.3f}"
    show(result, [line])
