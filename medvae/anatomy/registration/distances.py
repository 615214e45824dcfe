"""Signed distances of labels, in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage


def signed_distances(
    labels: npt.NDArray[Any],
    numbers: Sequence[int],
    spacing: tuple[float, float, float],
    limit: float,
) -> npt.NDArray[np.float32]:
    """[C, X, Y, Z] distance to the border of each label, negative inside, in mm.

    Args:
        labels: [X, Y, Z] whole numbers.
        numbers: the labels, one a channel.
        spacing: voxel size in mm.
        limit: distances are cut off at +-`limit` mm. A label that is absent is `limit` everywhere.
    """
    return np.stack([_distance(labels == number, spacing, limit) for number in numbers])


def _distance(
    inside: npt.NDArray[np.bool_], spacing: tuple[float, float, float], limit: float
) -> npt.NDArray[np.float32]:
    if not inside.any() or inside.all():
        return np.full(inside.shape, -limit if inside.any() else limit, np.float32)
    # Half a voxel: the border runs between the outermost voxel inside and its neighbour.
    half = min(spacing) / 2.0
    away = ndimage.distance_transform_edt(~inside, sampling=spacing)
    depth = ndimage.distance_transform_edt(inside, sampling=spacing)
    distance = np.where(inside, half - depth, away - half)
    return np.asarray(np.clip(distance, -limit, limit), np.float32)
