"""Channels of one volume: its standardised image and signed distances of its labels.

Each channel is a function of that volume and of public constants.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas import hounsfield
from medvae.atlas.basis import Array
from medvae.grid import Gridded

# Signed distances are cut off here, in fractions of the grid's smallest side: farther away they
# carry no information about the label's shape.
MAX_DISTANCE = 0.25


def standardise(image: npt.NDArray[np.floating], grey_centre: float | None = None) -> Array:
    """[X, Y, Z] with mean 0 and root mean square 1; all 0 for a constant image.

    grey_centre: for absolute grey values (CT, PET), the value that becomes 0; the scale is then
        `hounsfield.UNIT` for every volume.
    """
    values = np.nan_to_num(image.astype(np.float64), nan=-1.0, posinf=1.0, neginf=-1.0)
    if grey_centre is not None:
        return np.asarray((values - grey_centre) / hounsfield.UNIT)
    centred = values - values.mean()
    std = float(np.sqrt((centred**2).mean()))
    return np.asarray(centred / std if std > 1e-6 else np.zeros_like(centred))


def signed_distance(inside: npt.NDArray[np.bool_]) -> Array:
    """[X, Y, Z] distance to the boundary over its maximum, in [-1, 1], negative inside."""
    limit = max(2.0, MAX_DISTANCE * min(inside.shape))
    if inside.all() or not inside.any():
        return np.full(inside.shape, -1.0 if inside.all() else 1.0)
    outer = ndimage.distance_transform_edt(~inside)
    inner = ndimage.distance_transform_edt(inside)
    # The boundary runs between voxels: half a voxel from each.
    distance = np.where(inside, 0.5 - inner, outer - 0.5)
    return np.asarray(np.clip(distance / limit, -1.0, 1.0))


def channels(volume: Gridded, labels: int, grey_centre: float | None = None) -> Array:
    """[1 + labels, X, Y, Z] the standardised image, then the shape channels of its labels.

    A volume without a mask counts as all background.
    """
    image = standardise(volume.image, grey_centre)
    mask = volume.mask if volume.mask is not None else np.zeros(image.shape, np.uint8)
    return np.concatenate([image[None], shape_channels(mask, labels)])


def shape_channels(mask: npt.NDArray[np.uint8], labels: int) -> Array:
    """[L, X, Y, Z] signed distance of the union of labels, then differences between labels.

    The differences are S_l - mean S for the first L - 1 labels; the last one's is minus their
    sum. Means of separate signed distances leave gaps where labels touch; means of the union's do
    not. Boundaries are the zeros of the channels, so clipping, which scales a patient's channels,
    does not move them.
    """
    if labels == 0:
        return np.zeros((0, *mask.shape))
    union = signed_distance((mask > 0) & (mask <= labels))
    each = np.stack([signed_distance(mask == label) for label in range(1, labels + 1)])
    return np.concatenate([union[None], (each - each.mean(axis=0))[:-1]])


def label_map(shapes: Array) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] labels of shape channels [L, X, Y, Z], with L at least 1."""
    labels = np.ones(shapes.shape[1:], np.uint8)
    if len(shapes) > 1:
        nearest = shapes[1].copy()
        for label, other in enumerate([*shapes[2:], -shapes[1:].sum(axis=0)], 2):
            labels[other < nearest] = label
            np.minimum(nearest, other, out=nearest)
    return np.where(shapes[0] < 0.0, labels, np.uint8(0))
