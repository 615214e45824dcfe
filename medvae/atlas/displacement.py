"""Displacement fields: prior, application, inverse.

A field u [3, X, Y, Z] is in voxels and pulls: warp(T, u)(x) = T(x + u(x)). The atlas describes a
patient by the field that pulls the template onto the patient's grid.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from medvae.atlas.basis import Array, Basis, Shape

F = TypeVar("F", np.float32, np.float64)

# Public prior of anatomical variation: 2 voxels root mean square along each axis. Beyond the
# corner (half waves of about 16 voxels) its power falls as the fourth power of the frequency,
# a thin-plate energy.
RMS_VOXELS = 2.0
CORNER = 0.03


def identity(shape: Shape) -> Array:
    """[3, X, Y, Z] voxel coordinates."""
    return np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij"))


def prior_std(basis: Basis, normalised: int | None = None) -> Array:
    """[count] public standard deviation of a displacement coefficient, in voxels.

    normalised: `RMS_VOXELS` holds for this many of the lowest functions; None: for all.
    """
    power = (1.0 + (basis.frequency / CORNER) ** 2) ** -2.0
    return np.asarray(RMS_VOXELS * np.sqrt(power / power[:normalised].sum()))


def interpolate(values: npt.NDArray[F], points: Array) -> npt.NDArray[F]:
    """[C, ...] linear interpolation of values [C, X, Y, Z] at voxel coordinates [3, ...].

    Points outside take the value of the nearest edge. PyTorch computes the corners and weights of
    a point once for all channels: ten times faster than SciPy's one interpolation a channel.
    """
    size = np.maximum(np.array(values.shape[1:]) - 1, 1)
    scaled = (points.reshape(3, -1) * (2.0 / size[:, None]) - 1.0)[::-1].T
    dtype = np.float32 if values.dtype == np.float32 else np.float64
    grid = torch.from_numpy(np.ascontiguousarray(scaled, dtype=dtype)).reshape(1, -1, 1, 1, 3)
    source = torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))[None]
    sampled = torch.nn.functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return np.asarray(sampled.numpy().reshape(len(values), *points.shape[1:]), dtype=values.dtype)


def warp(values: npt.NDArray[np.floating], field: Array, order: int = 1) -> Array:
    """values[..., x + u(x)] for values [X, Y, Z] or [C, X, Y, Z]; edges repeat outside.

    order: of the spline; 1 (linear) is fast, 3 (cubic) does not blur.
    """
    points = identity(values.shape[-3:]) + field
    if order == 1:
        channels = values.astype(np.float64).reshape(-1, *values.shape[-3:])
        return interpolate(channels, points).reshape(values.shape)
    if values.ndim == 3:
        return _spline(values, points, order)
    return np.stack([_spline(channel, points, order) for channel in values])


def _spline(values: npt.NDArray[np.floating], points: Array, order: int) -> Array:
    image = values.astype(np.float64)
    sampled = ndimage.map_coordinates(image, points, order=order, mode="nearest")
    return np.asarray(sampled, dtype=np.float64)


def invert(field: Array, iterations: int = 8) -> Array:
    """[3, X, Y, Z] the field v with x + v(x) + u(x + v(x)) = x, by fixed-point iteration.

    Solved on every second voxel, since fields are smooth, and interpolated by cubic splines.
    Converges where |du| < 1. Elsewhere the field folds and has no inverse: values there are
    finite but meaningless.
    """
    shape: Shape = field.shape[1:]
    axes = [np.linspace(0, n - 1, (n + 1) // 2) for n in shape]
    coarse = np.stack(np.meshgrid(*axes, indexing="ij"))
    inverse = np.zeros_like(coarse)
    for _ in range(iterations):
        inverse = -interpolate(field, coarse + inverse)
    scale = [(len(axis) - 1) / max(n - 1, 1) for axis, n in zip(axes, shape, strict=True)]
    points = identity(shape) * np.array(scale)[:, None, None, None]
    return np.stack([_spline(component, points, 3) for component in inverse])
