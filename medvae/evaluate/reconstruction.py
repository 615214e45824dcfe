"""How near one volume is to another: PSNR, SSIM and MS-SSIM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae.config import DataConfig
from medvae.grid import normalise
from medvae.volume import Volume

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float32]

# The scale is [-1, 1], so the peak is 2. Identical volumes would have an infinite PSNR, which
# no JSON holds; beyond 100 dB float32 distinguishes nothing anyway.
PEAK = 2.0
MOST = 100.0
# Wang et al. 2003; renormalised when a volume is too small for all five scales.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 7


@dataclass(frozen=True)
class ReconstructionMetrics:
    """psnr in dB (at most 100), ssim and ms_ssim at most 1; ms_ssim is None for small volumes."""

    psnr: float
    ssim: float
    ms_ssim: float | None


def compare(original: Volume, reconstruction: Volume, data: DataConfig) -> ReconstructionMetrics:
    """Figures of `reconstruction` against `original`, on the latter's grid and scale of [-1, 1].

    Raises:
        ValueError: the two have different shapes.
    """
    if original.shape != reconstruction.shape:
        raise ValueError(f"cannot compare {original.shape} with {reconstruction.shape}")
    first, (low, high) = normalise(original.voxels, data)
    scaled = (reconstruction.voxels.astype(np.float32) - low) / (high - low) * 2 - 1
    second = np.clip(scaled, -1, 1).astype(np.float32)
    return reconstruction_metrics(first, second)


def reconstruction_metrics(first: Array, second: Array) -> ReconstructionMetrics:
    """All three figures of two arrays in [-1, 1] of one shape."""
    return ReconstructionMetrics(psnr(first, second), ssim(first, second), ms_ssim(first, second))


def psnr(first: Array, second: Array, peak: float = PEAK) -> float:
    """Peak signal to noise ratio in dB of two arrays of one shape."""
    error = float(np.mean((first.astype(np.float64) - second) ** 2))
    return MOST if error == 0 else min(MOST, 10 * math.log10(peak**2 / error))


def ssim(first: Array, second: Array, peak: float = PEAK) -> float:
    """Mean structural similarity (Wang et al. 2004) in a uniform window of 7 voxels a side.

    A smaller odd window is taken where an axis is shorter than that; a single slice is
    compared as the picture that it is.
    """
    from monai.metrics import compute_ssim_and_cs

    first, second = _picture(first), _picture(second)
    window = min(_WINDOW, (min(first.shape) - 1) // 2 * 2 + 1)
    similarity, _ = compute_ssim_and_cs(
        _batched(first),
        _batched(second),
        spatial_dims=first.ndim,
        kernel_size=(window,) * first.ndim,
        kernel_sigma=(1.0,) * first.ndim,
        data_range=peak,
        kernel_type="uniform",
    )
    return float(similarity.mean())


def ms_ssim(first: Array, second: Array, peak: float = PEAK) -> float | None:
    """Multi-scale SSIM over as many of the five scales as fit; None when fewer than two do."""
    from monai.metrics import compute_ms_ssim

    first, second = _picture(first), _picture(second)
    fits = [n for n in range(1, 6) if min(first.shape) // 2 ** (n - 1) > _WINDOW]
    if len(fits) < 2:
        return None
    weights = _SCALES[: len(fits)]
    value = compute_ms_ssim(
        _batched(first),
        _batched(second),
        spatial_dims=first.ndim,
        data_range=peak,
        kernel_type="uniform",
        kernel_size=_WINDOW,
        weights=[weight / sum(weights) for weight in weights],
    )
    return float(value)


def _picture(array: Array) -> Array:
    """Without an axis of one voxel, along which nothing could be compared."""
    return array.squeeze() if array.squeeze().ndim == 2 else array


def _batched(array: Array) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))[None, None]
