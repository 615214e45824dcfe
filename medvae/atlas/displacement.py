"""Displacement fields: smooth by construction, applied, inverted.

A field u [3, X, Y, Z] is in voxels and pulls: warp(T, u)(x) = T(x + u(x)). The atlas
describes a patient by the field that pulls the template onto the patient's grid.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas.basis import Array, Basis, Shape

# Public prior of anatomical variation: root mean square 2 voxels along each axis, falling
# off as the fourth power of the frequency (a thin-plate energy) beyond a half wave of
# about 16 voxels.
RMS_VOXELS = 2.0
CORNER = 0.03


def identity(shape: Shape) -> Array:
    """[3, X, Y, Z] voxel coordinates."""
    return np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij"))


def prior_deviation(basis: Basis) -> Array:
    """[count] public standard deviation, in voxels, of a displacement coefficient."""
    power = (1.0 + (basis.frequency / CORNER) ** 2) ** -2.0
    return np.asarray(RMS_VOXELS * np.sqrt(power / power.sum()))


def warp(values: npt.NDArray[np.floating], field: Array, order: int = 1) -> Array:
    """values[..., x + u(x)] for values [X, Y, Z] or [C, X, Y, Z]; edges repeat outside."""
    where = identity(values.shape[-3:]) + field
    if values.ndim == 3:
        return _sample(values, where, order)
    return np.stack([_sample(channel, where, order) for channel in values])


def _sample(values: npt.NDArray[np.floating], where: Array, order: int) -> Array:
    sampled = ndimage.map_coordinates(values.astype(np.float64), where, order=order, mode="nearest")
    return np.asarray(sampled, dtype=np.float64)


def invert(field: Array, iterations: int = 12) -> Array:
    """The field v with x + v(x) + u(x + v(x)) = x, by fixed-point iteration.

    Converges where |du| < 1; elsewhere the field folds and has no inverse, and what is
    returned is merely finite.
    """
    inverse = -field
    for _ in range(iterations):
        inverse = -warp(field, inverse)
    return inverse


def jacobian(field: Array) -> Array:
    """[X, Y, Z] determinant of d(x + u)/dx; positive where the map does not fold."""
    gradient = np.stack([np.stack(np.gradient(component)) for component in field])
    matrix = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3)
    return np.asarray(np.linalg.det(matrix))
