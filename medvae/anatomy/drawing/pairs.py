"""Pairs of contrasts of one subject: how what varies in one goes with what varies in the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.geometry import Array

# What a textbook knows of the correlation of two contrasts within tissues: nothing but that it is
# one; and how much people of one scanner differ in it.
TOGETHER_STD, TOGETHER_WITHIN = 0.4, 0.15
# The largest that is drawn: contrasts that are one image are none.
MOST_TOGETHER = 0.95


def pairs_of(count: int) -> tuple[tuple[int, int], ...]:
    """Each two of so many contrasts, the earlier one first."""
    return tuple(combinations(range(count), 2))


def correlation(
    weights: npt.NDArray[np.floating],
    one: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
) -> float:
    """Of deviations [P] from their means, each voxel with its weight [P]; NaN where none vary."""
    weights = weights.astype(np.float64)
    squares = (weights @ one**2) * (weights @ other**2)
    if not squares > 0.0:
        return np.nan
    return float(np.clip(weights @ (one * other) / np.sqrt(squares), -1.0, 1.0))


def root(pairs: Sequence[tuple[int, int]], values: Array) -> Array:
    """[C, C] lower triangular root of the correlation matrix that is nearest to what pairs have."""
    count = max((b for _, b in pairs), default=0) + 1
    matrix = np.eye(count)
    for (a, b), value in zip(pairs, values, strict=True):
        matrix[a, b] = matrix[b, a] = np.clip(value, -MOST_TOGETHER, MOST_TOGETHER)
    # Pairs that were drawn one by one need not be possible together.
    powers, axes = np.linalg.eigh(matrix)
    possible = (axes * np.maximum(powers, 1.0 - MOST_TOGETHER)) @ axes.T
    scale = np.sqrt(np.diag(possible))
    return np.asarray(np.linalg.cholesky(possible / np.outer(scale, scale)))
