"""Histograms as quantile functions, each in a few coefficients, for relative grey values (MRI).

Volumes are scaled so that their low and high percentiles are -1 and 1 (`grid`): their quantile
functions differ between the ends and hardly at them, where they are steep. So `WAVES` are small at
the ends and finer towards them.

Sensitivity. A volume's vector holds `COUNT` coefficients of its quantile function less a public
one. A patient's mean vector is clipped to `CLIP`, so one patient changes the noisy mean by at most
CLIP / N.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medvae.atlas.basis import Array, cosines

LEVELS = 64
COUNT = 6
# Root mean square distance of two quantile functions in [-1, 1]: .4 is a large one.
CLIP = 0.4
# Public: std of each coefficient, of a cohort's mean around `BASE`, and between volumes of one
# cohort. Histograms differ more in level than in detail.
COHORT_STD = 0.3 / np.arange(1, COUNT + 1) ** 1.5
VOLUME_STD = 0.12 / np.arange(1, COUNT + 1)
RANKS = (np.arange(LEVELS) + 0.5) / LEVELS
# Public: the quantile function of uniformly distributed grey values.
BASE = 2.0 * RANKS - 1.0


def _waves() -> Array:
    """[LEVELS, COUNT] orthogonal functions of root mean square 1: half waves of stretched ranks.

    Ranks are stretched by asin(sqrt(rank)), which makes the first function half an ellipse.
    """
    stretched = 2.0 / np.pi * np.arcsin(np.sqrt(RANKS))
    raw = np.sin(np.pi * stretched[:, None] * np.arange(1, COUNT + 1))
    orthonormal, triangle = np.linalg.qr(raw)
    return np.asarray(orthonormal * np.sign(np.diag(triangle)) * np.sqrt(LEVELS))


WAVES = _waves()


def from_cosines(coefficients: Array) -> Array:
    """Coefficients [..., COUNT] of `WAVES` from coefficients of cosines (stored format 1)."""
    return np.asarray(coefficients @ (cosines(LEVELS, COUNT).T @ WAVES) / LEVELS)


def coefficients(image: Array) -> Array:
    """[COUNT] coefficients of the quantile function of an image in [-1, 1]."""
    values = np.clip(np.nan_to_num(image, nan=-1.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
    difference = np.quantile(values, RANKS) - BASE
    return np.asarray(difference @ WAVES / LEVELS)


def shrink(noisy: Array, noise_std: float) -> Array:
    """[COUNT] coefficients shrunk towards 0 for their noise std."""
    return np.asarray(noisy * COHORT_STD**2 / (COHORT_STD**2 + noise_std**2))


def curve(coefficients: Array) -> Array:
    """[LEVELS] non-decreasing quantile function within [-1, 1]."""
    raw = BASE + WAVES @ coefficients
    return np.asarray(np.clip(np.sort(raw), -1.0, 1.0))


def impose(image: Array, quantiles: Array) -> Array:
    """The image with its ranks, and with quantiles [LEVELS] as its histogram."""
    values = np.empty(image.size)
    ranks = (np.arange(image.size) + 0.5) / image.size
    values[_order(image)] = np.interp(ranks, RANKS, quantiles)
    return values.reshape(image.shape)


def _order(image: Array) -> npt.NDArray[np.intp]:
    """[X Y Z] flat indices that sort the values; equal values keep their order."""
    values = image.ravel()
    # An unstable sort is several times faster, and the same where no two values are equal.
    order = np.argsort(values)
    rising = values.take(order)
    if (rising[1:] == rising[:-1]).any():
        return np.argsort(values, kind="stable")
    return order
