"""Histograms as quantile functions: few smooth numbers a volume, exact to restore.

A volume is scaled so that its low and high percentiles are -1 and 1 (`grid`), so its quantile
function differs from others' between its ends and hardly at them, where it is steep: `WAVES` are 0
at the ends and finer towards them.

Sensitivity: a volume's quantile function, less a public one, in `COUNT` functions; its
coefficients are clipped to `CLIP` per patient, so the mean moves by at most CLIP / N.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medvae.atlas.basis import Array, cosines

LEVELS = 64
COUNT = 6
# Root mean square distance of two quantile functions in [-1, 1]: .4 is a large one.
CLIP = 0.4
# Public deviations of each coefficient: of a cohort's mean from the public start, and
# between volumes of one cohort. Histograms differ more in level than in detail.
COHORT = 0.3 / np.arange(1, COUNT + 1) ** 1.5
BETWEEN = 0.12 / np.arange(1, COUNT + 1)
RANKS = (np.arange(LEVELS) + 0.5) / LEVELS
# Public start: grey values spread evenly.
BASE = 2.0 * RANKS - 1.0


def _waves() -> Array:
    """[LEVELS, COUNT] orthogonal, each of root mean square 1: half waves over stretched ranks.

    Half an ellipse over the ranks first, as asin(sqrt(rank)) stretches them.
    """
    place = 2.0 / np.pi * np.arcsin(np.sqrt(RANKS))
    raw = np.sin(np.pi * place[:, None] * np.arange(1, COUNT + 1))
    rotated, mixed = np.linalg.qr(raw)
    return np.asarray(rotated * np.sign(np.diag(mixed)) * np.sqrt(LEVELS))


WAVES = _waves()


def from_cosines(coefficients: Array) -> Array:
    """Coefficients [..., COUNT] of an earlier version, which were of cosines, as those of now."""
    return np.asarray(coefficients @ (cosines(LEVELS, COUNT).T @ WAVES) / LEVELS)


def describe(image: Array) -> Array:
    """[COUNT] coefficients of the quantile function of an image in [-1, 1]."""
    values = np.clip(np.nan_to_num(image, nan=-1.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
    curve = np.quantile(values, RANKS) - BASE
    return np.asarray(curve @ WAVES / LEVELS)


def shrink(released: Array, noise: float) -> Array:
    """[COUNT] released coefficients, drawn to 0 by their noise deviation."""
    return np.asarray(released * COHORT**2 / (COHORT**2 + noise**2))


def curve(coefficients: Array) -> Array:
    """[LEVELS] non-decreasing quantile function within [-1, 1]."""
    raw = BASE + WAVES @ coefficients
    return np.asarray(np.clip(np.sort(raw), -1.0, 1.0))


def impose(image: Array, quantiles: Array) -> Array:
    """The image with its ranks kept and its histogram replaced by quantiles [LEVELS]."""
    imposed = np.empty(image.size)
    ranks = (np.arange(image.size) + 0.5) / image.size
    imposed[_order(image)] = np.interp(ranks, RANKS, quantiles)
    return imposed.reshape(image.shape)


def _order(image: Array) -> npt.NDArray[np.intp]:
    """[X Y Z] flat indices in the order of the values, the first of equals first."""
    values = image.ravel()
    # Several times faster than a stable sort, and the same where no two values are equal.
    order = np.argsort(values)
    rising = values.take(order)
    if (rising[1:] == rising[:-1]).any():
        return np.argsort(values, kind="stable")
    return order
