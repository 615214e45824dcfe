"""CT and PET: grey values that mean something, so that one map serves all volumes.

Hounsfield units are absolute: lung is near -850 and soft tissue near 40 in everybody, and only
how much there is of each differs; uptake values are absolute too. So volumes are not
standardised one by one, and what is released is the mean distribution of grey values over
patients; a rendered field, whose own distribution is known, is carried to it by one increasing
map for all samples.

Sensitivity: a volume's cumulative distribution, less that of evenly spread grey values, in
`COUNT` cosines; its coefficients are clipped to `CLIP` per patient, so the mean moves by at
most CLIP / N.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression

from medvae import modality as modalities
from medvae.atlas.basis import Array, cosines
from medvae.config import DataConfig

# Public: the unit of a field, on the scale [-1, 1] of the window.
UNIT = 0.45
LEVELS = 128
COUNT = 16
# The root mean square of such a difference is at most 1 / sqrt(3).
CLIP = 0.6
# Public deviation of each coefficient of a cohort's mean.
COHORT = 0.3 / np.arange(1, COUNT + 1)
# Public: shells of frequency that a field is given texture in. The map makes edges of it, and
# with them what is finer; chosen on procedural nodules.
COARSE = 4
GREY = np.linspace(-1.0, 1.0, LEVELS)


def centre(data: DataConfig) -> float:
    """Where a field is 0, in [-1, 1] of the window."""
    low, high = data.window
    modality = modalities.get(data.modality)
    lowest, middle = modality.field_range
    if low > lowest or high < middle:
        return 0.0
    return float(2.0 * ((middle - low) / (high - low)) ** modality.exponent - 1.0)


def describe(image: Array) -> Array:
    """[COUNT] coefficients of the distribution of grey values of an image in [-1, 1]."""
    values = np.sort(np.clip(np.nan_to_num(image, nan=-1.0), -1.0, 1.0), axis=None)
    # Half a step at a value that many voxels have, such as the window's ends.
    below = np.searchsorted(values, GREY, "left") + np.searchsorted(values, GREY, "right")
    difference = below / (2.0 * values.size) - (GREY + 1.0) / 2.0
    return np.asarray(difference @ cosines(LEVELS, COUNT) / LEVELS)


def shrink(released: Array, noise: float) -> Array:
    """[COUNT] released coefficients, drawn to 0 by their noise deviation."""
    return np.asarray(released * COHORT**2 / (COHORT**2 + noise**2))


def curve(coefficients: Array, ranks: Array) -> Array:
    """Grey values [len(ranks)] in [-1, 1], non-decreasing: the quantile function."""
    raw = (GREY + 1.0) / 2.0 + cosines(LEVELS, COUNT) @ coefficients
    # Few cosines ring around a step: the nearest non-decreasing curve takes the mean of that.
    rising = np.clip(isotonic_regression(raw).x, 0.0, 1.0)
    # Strictly rising, so that it can be turned round.
    return np.asarray(np.interp(ranks, rising + 1e-9 * np.arange(LEVELS), GREY))
