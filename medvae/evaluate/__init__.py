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
from medvae.evaluate.run import Cohort, Options, evaluate, gather

__all__ = [
    "Cohort",
    "Options",
    "ReconstructionMetrics",
    "compare",
    "evaluate",
    "gather",
    "ms_ssim",
    "psnr",
    "reconstruction_metrics",
    "ssim",
]
