"""Displacement fields: smooth by construction, applied, inverted.

A field u [3, X, Y, Z] is in voxels and pulls: warp(T, u)(x) = T(x + u(x)). The atlas
describes a patient by the field that pulls the template onto the patient's grid.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from medvae.atlas.basis import Array, Basis, Shape

F = TypeVar("F", np.float32, np.float64)

# Public prior of anatomical variation: root mean square 2 voxels along each axis, falling
# off as the fourth power of the frequency (a thin-plate energy) beyond a half wave of
# about 16 voxels.
RMS_VOXELS = 2.0
CORNER = 0.03


def identity(shape: Shape) -> Array:
    """[3, X, Y, Z] voxel coordinates."""
    return np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij"))


def prior_deviation(basis: Basis, known: int | None = None) -> Array:
    """[count] public standard deviation, in voxels, of a displacement coefficient.

    known: how many of the functions, the lowest, share `RMS_VOXELS`; by default all.
    """
    power = (1.0 + (basis.frequency / CORNER) ** 2) ** -2.0
    return np.asarray(RMS_VOXELS * np.sqrt(power / power[:known].sum()))


def sample(values: npt.NDArray[F], where: Array) -> npt.NDArray[F]:
    """values [C, X, Y, Z] at voxel coordinates [3, ...], linearly; edges repeat outside.

    PyTorch's sampler, for it computes the corners and weights of a point once for all
    channels: ten times faster than one interpolation a channel.
    """
    lead = where.shape[1:]
    size = np.maximum(np.array(values.shape[1:]) - 1, 1)
    points = (where.reshape(3, -1) * (2.0 / size[:, None]) - 1.0)[::-1].T
    precise = np.float32 if values.dtype == np.float32 else np.float64
    grid = torch.from_numpy(np.ascontiguousarray(points, dtype=precise)).reshape(1, -1, 1, 1, 3)
    source = torch.from_numpy(np.ascontiguousarray(values, dtype=precise))[None]
    found = torch.nn.functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return np.asarray(found.numpy().reshape(len(values), *lead), dtype=values.dtype)


def warp(values: npt.NDArray[np.floating], field: Array, order: int = 1) -> Array:
    """values[..., x + u(x)] for values [X, Y, Z] or [C, X, Y, Z]; edges repeat outside.

    Order 1 is linear, 3 a cubic spline: slower, and without the blur.
    """
    where = identity(values.shape[-3:]) + field
    if order == 1:
        flat = values.astype(np.float64).reshape(-1, *values.shape[-3:])
        found = sample(flat, where)
        return found.reshape(values.shape)
    if values.ndim == 3:
        return _spline(values, where, order)
    return np.stack([_spline(channel, where, order) for channel in values])


def _spline(values: npt.NDArray[np.floating], where: Array, order: int) -> Array:
    found = ndimage.map_coordinates(values.astype(np.float64), where, order=order, mode="nearest")
    return np.asarray(found, dtype=np.float64)


def invert(field: Array, iterations: int = 8) -> Array:
    """The field v with x + v(x) + u(x + v(x)) = x, by fixed-point iteration.

    Solved on every second voxel (fields are smooth) and interpolated by cubic splines.
    Converges where |du| < 1; elsewhere the field folds and has no inverse, and what is
    returned is merely finite.
    """
    shape: Shape = field.shape[1:]
    axes = [np.linspace(0, n - 1, (n + 1) // 2) for n in shape]
    coarse = np.stack(np.meshgrid(*axes, indexing="ij"))
    inverse = np.zeros_like(coarse)
    for _ in range(iterations):
        inverse = -sample(field, coarse + inverse)
    scale = [(len(axis) - 1) / max(n - 1, 1) for axis, n in zip(axes, shape, strict=True)]
    where = identity(shape) * np.array(scale)[:, None, None, None]
    return np.stack([_spline(component, where, 3) for component in inverse])


def jacobian(field: Array) -> Array:
    """[X, Y, Z] determinant of d(x + u)/dx; positive where the map does not fold."""
    gradient = np.stack([np.stack(np.gradient(component)) for component in field])
    matrix = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3)
    return np.asarray(np.linalg.det(matrix))
