"""Measures of synthetic volumes beside real ones, all without a network.

    evaluate   a set against real patients: fidelity, diversity, intensities, downstream use
    compare    one reconstruction against its original: PSNR, SSIM, MS-SSIM

Figures on private patients are private: every one says `release_ok: false`.
"""

from medvae.evaluate.reconstruction import (
    ReconstructionMetrics,
    compare,
    ms_ssim,
    psnr,
    reconstruction_metrics,
    ssim,
)
from medvae.evaluate.run import Options, evaluate

__all__ = [
    "Options",
    "ReconstructionMetrics",
    "compare",
    "evaluate",
    "ms_ssim",
    "psnr",
    "reconstruction_metrics",
    "ssim",
]
