"""Absolute grey values (CT, PET): one distribution for the cohort, one map for all samples.

Hounsfield units and uptake values are absolute: lung is near -850 HU and soft tissue near 40 HU in
everyone, and only the amounts differ. Volumes are therefore not standardised one by one. The
mechanism measures the mean distribution of grey values over patients, and one increasing map
takes rendered fields, whose own distribution is known, to it.

Sensitivity. A volume's vector holds the first `COUNT` cosine coefficients of its cumulative
distribution less that of a uniform one. A patient's mean vector is clipped to `CLIP`, so one
patient changes the noisy mean by at most CLIP / N.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression

from medvae import modality as modalities
from medvae.atlas.basis import Array, cosines
from medvae.config import DataConfig

# Public: the unit of a standardised field, on the scale [-1, 1] of the window.
UNIT = 0.45
LEVELS = 128
COUNT = 16
# The root mean square of such a difference is at most 1 / sqrt(3).
CLIP = 0.6
# Public: std of each coefficient of a cohort's mean.
COHORT_STD = 0.3 / np.arange(1, COUNT + 1)
# Public: number of frequency shells with random texture. The map to grey values turns coarse
# texture into edges, and so adds finer structure; chosen on procedural nodules.
COARSE_SHELLS = 4
GREY = np.linspace(-1.0, 1.0, LEVELS)


def grey_centre(data: DataConfig) -> float:
    """The grey value that a standardised field maps to 0, in [-1, 1] of the window."""
    low, high = data.window
    modality = modalities.get(data.modality)
    lowest, middle = modality.field_range
    if low > lowest or high < middle:
        return 0.0
    return float(2.0 * ((middle - low) / (high - low)) ** modality.exponent - 1.0)


def coefficients(image: Array) -> Array:
    """[COUNT] cosine coefficients of the grey value distribution of an image in [-1, 1]."""
    values = np.sort(np.clip(np.nan_to_num(image, nan=-1.0), -1.0, 1.0), axis=None)
    # Values equal to a level, such as the window's ends, count half below it.
    below = np.searchsorted(values, GREY, "left") + np.searchsorted(values, GREY, "right")
    difference = below / (2.0 * values.size) - (GREY + 1.0) / 2.0
    return np.asarray(difference @ cosines(LEVELS, COUNT) / LEVELS)


def shrink(noisy: Array, noise_std: float) -> Array:
    """[COUNT] coefficients shrunk towards 0 for their noise std."""
    return np.asarray(noisy * COHORT_STD**2 / (COHORT_STD**2 + noise_std**2))


def curve(coefficients: Array, ranks: Array) -> Array:
    """[len(ranks)] grey values in [-1, 1], non-decreasing: the quantile function."""
    raw = (GREY + 1.0) / 2.0 + cosines(LEVELS, COUNT) @ coefficients
    # A few cosines ring around a step; the nearest non-decreasing curve averages the ringing.
    rising = np.clip(isotonic_regression(raw).x, 0.0, 1.0)
    # Interpolation needs a strictly increasing function to invert.
    return np.asarray(np.interp(ranks, rising + 1e-9 * np.arange(LEVELS), GREY))
