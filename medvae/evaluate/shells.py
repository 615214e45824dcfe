"""The extractor `medvae-shells-1`: what a volume looks like at each distance from its centre.

For crops round something: 16 fixed numbers, the mean grey value and the mean slope in eight
concentric shells. The definition is this file and must not change under its name.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

NAME = "medvae-shells-1"
# Between shells, in parts of half the longest side.
_EDGES = np.array([2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0]) / 16.0


def shells(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """[16] float64 of an image [X, Y, Z] in [-1, 1].

    Radii are in parts of half the longest side, in voxels.
    """
    values = image.astype(np.float64)
    axes = [np.arange(n) - (n - 1) / 2 for n in values.shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) / (max(values.shape) / 2)
    shell = np.digitize(radius, _EDGES).ravel()
    slope = ndimage.gaussian_gradient_magnitude(values, 1.0, mode="nearest")
    count = np.bincount(shell, minlength=len(_EDGES) + 1)
    # A shell without a voxel, in a thin volume, says nothing.
    profiles = [
        np.bincount(shell, v.ravel(), len(count)) / np.maximum(count, 1) for v in (values, slope)
    ]
    return np.concatenate(profiles)
