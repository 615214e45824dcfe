"""Grids whose axes are not at right angles, resampled onto one whose axes are.

Later stages know a volume by its voxel sizes, so that a sheared grid would skew the anatomy.
"""

from __future__ import annotations

import math

import numpy as np

from medvae.errors import InputError
from medvae.ingest.normalise import Affine, Voxels
from medvae.ingest.records import Limits
from medvae.ingest.upright import MOST_TILT, Stack, brought_upright

# Cosine of two axes that rounding leaves in a header.
LEAST_SHEAR = 0.01


def at_right_angles(
    voxels: Voxels, affine: Affine, empty: float, limits: Limits, *, labels: bool = False
) -> tuple[Voxels, Affine]:
    """Voxels [X, Y, Z] on a grid with right angles, and its affine; nothing of them is lost.

    Slices are shifted within their planes as those of a tilted gantry are. Where no two axes are
    at a right angle, the planes are brought to right angles first.

    Args:
        empty: what is outside of the image, in the units of the voxels.
        labels: take the nearest voxel instead of interpolating.

    Raises:
        InputError: an axis is further off a right angle than a gantry tilts, or the grid would
            have more voxels than `limits` allow.
    """
    for along, slices in _shears(affine):
        order = [*along, *({0, 1, 2} - {*along, slices}), slices]
        moved = affine[:, [*order, 3]]
        part = np.linalg.lstsq(moved[:3, : len(along)], moved[:3, 2], rcond=None)[0]
        turned = voxels.transpose(order)
        shift = np.zeros((turned.shape[2], 2))
        shift[:, : len(along)] = np.outer(np.arange(len(shift)), part)
        grown = np.array(turned.shape[:2]) + np.ceil(np.abs(shift[-1]))
        if math.prod(int(n) for n in grown) * len(shift) > limits.voxels:
            raise InputError("brought to right angles it has more voxels than are allowed")
        turned, moved = brought_upright(turned, Stack(moved, shift), empty, labels=labels)
        back = np.argsort(order)
        voxels, affine = turned.transpose(back), moved[:, [*back, 3]]
    return voxels, affine


def is_sheared(affine: Affine) -> bool:
    """Whether `at_right_angles` would change a grid. Raises as that."""
    return bool(_shears(affine))


def _shears(affine: Affine) -> list[tuple[list[int], int]]:
    """The axes along which slices are shifted, and that along which they are stacked."""
    directions = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    cosines = np.abs(directions.T @ directions)
    pairs = {slices: float(cosines[(slices + 1) % 3, (slices + 2) % 3]) for slices in (2, 1, 0)}
    if max(pairs.values()) <= LEAST_SHEAR:
        return []
    # The two axes nearest to a right angle are the plane of the slices.
    slices = min(pairs, key=lambda axis: pairs[axis])
    first, second = sorted({0, 1, 2} - {slices})
    normal = np.cross(directions[:, first], directions[:, second])
    lean = abs(float(normal @ directions[:, slices])) / float(np.sqrt(normal @ normal))
    degrees = math.degrees(max(math.acos(min(1.0, lean)), math.asin(min(1.0, pairs[slices]))))
    if degrees > MOST_TILT:
        raise InputError(
            f"its axes are {degrees:.0f} degrees off a right angle, more than the {MOST_TILT:.0f} "
            "of a tilted gantry: resample it onto a grid with right angles first"
        )
    plane = [([first], second)] if pairs[slices] > LEAST_SHEAR else []
    return [*plane, ([first, second], slices)]
