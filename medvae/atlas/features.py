"""What of one volume the atlas looks at: standardised image, signed distances of labels.

Every number here comes from the volume itself and from public constants.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas import hounsfield
from medvae.atlas.basis import Array
from medvae.grid import Gridded

# A signed distance is cut off here: beyond, it says nothing of the label's shape. In
# parts of the grid's smallest side.
REACH = 0.25


def standardise(image: npt.NDArray[np.floating], middle: float | None = None) -> Array:
    """[X, Y, Z] with mean 0 and root mean square 1 (all 0 where the image is constant).

    middle: what is 0 in images whose grey values mean something (see `hounsfield`).
    """
    values = np.nan_to_num(image.astype(np.float64), nan=-1.0, posinf=1.0, neginf=-1.0)
    if middle is not None:
        return np.asarray((values - middle) / hounsfield.UNIT)
    centred = values - values.mean()
    spread = float(np.sqrt((centred**2).mean()))
    return np.asarray(centred / spread if spread > 1e-6 else np.zeros_like(centred))


def signed_distance(inside: npt.NDArray[np.bool_]) -> Array:
    """[X, Y, Z] distance to the boundary over the reach, in [-1, 1], negative inside."""
    reach = max(2.0, REACH * min(inside.shape))
    if inside.all() or not inside.any():
        return np.full(inside.shape, -1.0 if inside.all() else 1.0)
    outer = ndimage.distance_transform_edt(~inside)
    inner = ndimage.distance_transform_edt(inside)
    # Half a voxel: the boundary runs between voxels, not through them.
    distance = np.where(inside, 0.5 - inner, outer - 0.5)
    return np.asarray(np.clip(distance / reach, -1.0, 1.0))


def channels(volume: Gridded, labels: int, middle: float | None = None) -> Array:
    """[1 + labels, X, Y, Z]: the standardised image, then what `shape_channels` makes of labels.

    A volume without a mask counts as one where every voxel is background.
    """
    image = standardise(volume.image, middle)
    mask = volume.mask if volume.mask is not None else np.zeros(image.shape, np.uint8)
    return np.concatenate([image[None], shape_channels(mask, labels)])


def shape_channels(mask: npt.NDArray[np.uint8], labels: int) -> Array:
    """[L, X, Y, Z]: signed distance of all labels together, then who is nearer.

    Averages of separate signed distances come apart where labels touch; an average of the
    distance to their union does not. The channels after it are S_l - mean S for the first
    L - 1 labels (the last is minus their sum). Boundaries are where channels are 0, so they
    stay where they are when a release clips, that is scales, a patient's channels.
    """
    if labels == 0:
        return np.zeros((0, *mask.shape))
    union = signed_distance((mask > 0) & (mask <= labels))
    each = np.stack([signed_distance(mask == label) for label in range(1, labels + 1)])
    return np.concatenate([union[None], (each - each.mean(axis=0))[:-1]])


def label_map(shapes: Array) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] labels of `shape_channels` [L, X, Y, Z], L at least 1."""
    labels = np.ones(shapes.shape[1:], np.uint8)
    if len(shapes) > 1:
        nearest = shapes[1].copy()
        for label, other in enumerate([*shapes[2:], -shapes[1:].sum(axis=0)], 2):
            labels[other < nearest] = label
            np.minimum(nearest, other, out=nearest)
    return np.where(shapes[0] < 0.0, labels, np.uint8(0))
