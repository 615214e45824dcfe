"""Correlation between the channels of an image: whether contrasts were drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.cine import is_cine

Matrix = npt.NDArray[np.float64]


def correlations(image: npt.NDArray[np.float32]) -> Matrix:
    """[C, C] over the voxels of [C, X, Y, Z] in which not all channels are black (-1).

    0 beside a channel that is constant there.
    """
    flat = image.reshape(len(image), -1).astype(np.float64)
    inside = flat[:, (flat > -1.0).any(axis=0)]
    if inside.shape[1] < 2:
        return np.eye(len(image))
    centred = inside - inside.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    scaled = np.divide(centred, size[:, None], out=np.zeros_like(centred), where=size[:, None] > 0)
    matrix = scaled @ scaled.T
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)


def figures(
    fake: Sequence[Matrix],
    true: Sequence[Matrix],
    halves: npt.NDArray[np.bool_],
    channels: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """The largest difference between mean correlations of synthetic and real images, by pair.

    Args:
        fake, true: of each image.
        halves: [n] of the real images; `real` is the difference between these two.
    """
    fake_mean, true_mean = np.mean(fake, axis=0), np.mean(true, axis=0)
    stacked = np.stack(true)
    between = np.abs(stacked[halves].mean(axis=0) - stacked[~halves].mean(axis=0))
    if is_cine(channels):
        return {"channel_correlation": _largest(fake_mean, true_mean, between)} | {
            "frame_correlation": {
                "value": _neighbours(fake_mean),
                "real": _neighbours(true_mean),
                "unit": "mean correlation of neighbouring frames; real: of the patients",
            }
        }
    pairs = list(combinations(range(len(channels)), 2))
    return {
        "channel_correlation": {
            **_largest(fake_mean, true_mean, between),
            "pairs": {
                f"{channels[a]} {channels[b]}": {
                    "synthetic": round(float(fake_mean[a, b]), 4),
                    "real": round(float(true_mean[a, b]), 4),
                }
                for a, b in pairs
            },
        }
    }


def _largest(fake: Matrix, true: Matrix, between: Matrix) -> dict[str, Any]:
    return {"value": float(np.abs(fake - true).max()), "real": float(between.max())}


def _neighbours(mean: Matrix) -> float:
    return float(np.mean(np.diagonal(mean, 1)))
