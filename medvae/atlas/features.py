"""What of one volume the atlas looks at: standardised image, signed distances of labels.

Every number here comes from the volume itself and from public constants.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas.basis import Array
from medvae.grid import Gridded

# A signed distance is cut off here: beyond, it says nothing of the label's shape. In
# parts of the grid's smallest side.
REACH = 0.25


def standardise(image: npt.NDArray[np.floating]) -> Array:
    """[X, Y, Z] with mean 0 and root mean square 1 (all 0 where the image is constant)."""
    values = np.nan_to_num(image.astype(np.float64), nan=-1.0, posinf=1.0, neginf=-1.0)
    centred = values - values.mean()
    spread = float(np.sqrt((centred**2).mean()))
    return np.asarray(centred / spread if spread > 1e-6 else np.zeros_like(centred))


def signed_distance(inside: npt.NDArray[np.bool_]) -> Array:
    """[X, Y, Z] distance to the boundary over the reach, in [-1, 1], negative inside."""
    reach = max(2.0, REACH * min(inside.shape))
    if not inside.any():
        return np.ones(inside.shape)
    outer = ndimage.distance_transform_edt(~inside)
    inner = ndimage.distance_transform_edt(inside)
    # Half a voxel: the boundary runs between voxels, not through them.
    distance = np.where(inside, 0.5 - inner, outer - 0.5)
    return np.asarray(np.clip(distance / reach, -1.0, 1.0))


def channels(volume: Gridded, labels: int) -> Array:
    """[1 + labels, X, Y, Z]: the standardised image, then signed distances minus 1.

    Minus 1, so that a label that is not there is all 0: a public mean taken out.
    A volume without a mask counts as one where every voxel is background.
    """
    image = standardise(volume.image)
    mask = volume.mask if volume.mask is not None else np.zeros(image.shape, np.uint8)
    distances = [signed_distance(mask == label) - 1.0 for label in range(1, labels + 1)]
    return np.stack([image, *distances])


def label_map(distances: Array) -> npt.NDArray[np.uint8]:
    """[X, Y, Z] labels of signed distances [L, X, Y, Z]: the most inside wins, 0 if none."""
    nearest = distances.argmin(axis=0)
    inside = np.take_along_axis(distances, nearest[None], axis=0)[0] < 0
    return np.asarray(np.where(inside, nearest + 1, 0), dtype=np.uint8)
