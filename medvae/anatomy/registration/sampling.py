"""Pulling maps to other points, thinning them out, and their slopes per millimetre."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.registration.geometry import Array, Box


def box_coordinates(points: torch.Tensor, box: Box) -> torch.Tensor:
    """Points [3, ...] in mm as sampler coordinates: -1 and 1 are the faces of the box."""
    rows = [(points[a] - box.low[a]) * (2.0 / box.size[a]) - 1.0 for a in range(3)]
    return torch.stack(rows)


def sample(values: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
    """values [C, X, Y, Z] at sampler coordinates [3, ...], trilinearly: [C, ...].

    Outside, the outermost voxels repeat. The result holds the channels of a point side by side
    in memory, and is fastest where `values` does: corners and weights serve all channels.
    """
    count, *shape = values.shape
    if not count:
        return values.new_zeros((0, *coordinates.shape[1:]))
    corners = torch.zeros(coordinates[0].numel(), 1, dtype=torch.int32, device=values.device)
    weights = torch.ones_like(corners, dtype=torch.float32)
    for axis, n in enumerate(shape):
        at = ((coordinates[axis].reshape(-1, 1) + 1.0) * (n / 2.0) - 0.5).clamp_(0.0, n - 1.0)
        low = at.floor().clamp_(max=max(n - 2.0, 0.0))
        part = at - low
        first = corners * n + low.int()
        corners = torch.cat([first, first + min(1, n - 1)], dim=1)
        weights = torch.cat([weights * (1.0 - part), weights * part], dim=1)
    table = values.reshape(count, -1).T.contiguous()
    sums = torch.nn.functional.embedding_bag(corners, table, mode="sum", per_sample_weights=weights)
    return sums.T.reshape(count, *coordinates.shape[1:])


def side_by_side(values: torch.Tensor) -> torch.Tensor:
    """The same [C, X, Y, Z] with the channels of a voxel side by side in memory, for `sample`."""
    return values.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def slope(values: torch.Tensor, axis: int, spacing: float) -> torch.Tensor:
    """[C, X, Y, Z] central differences per mm along one axis; one-sided at the faces."""
    dim, n = axis + 1, values.shape[axis + 1]
    slopes = torch.zeros_like(values)
    if n < 2:
        return slopes
    inner = values.narrow(dim, 2, n - 2) - values.narrow(dim, 0, n - 2)
    slopes.narrow(dim, 1, n - 2).copy_(inner / (2.0 * spacing))
    for at, other in ((0, 0), (n - 1, n - 2)):
        step = values.narrow(dim, other + 1, 1) - values.narrow(dim, other, 1)
        slopes.narrow(dim, at, 1).copy_(step / spacing)
    return slopes


def thin(values: torch.Tensor, factors: tuple[int, int, int]) -> torch.Tensor:
    """Means of blocks of `factors` voxels of [C, X, Y, Z]; the last blocks may be smaller."""
    if factors == (1, 1, 1):
        return values
    if not len(values):
        shape = [-(-n // f) for n, f in zip(values.shape[1:], factors, strict=True)]
        return values.new_zeros((0, *shape))
    return torch.nn.functional.avg_pool3d(
        values[None], factors, factors, ceil_mode=True, count_include_pad=False
    )[0]


def thinned_affine(affine: Array, factors: tuple[int, int, int]) -> Array:
    """[4, 4] of the grid that `thin` makes of a grid with `affine`."""
    scale = np.diag([*map(float, factors), 1.0])
    scale[:3, 3] = (np.asarray(factors) - 1) / 2.0
    return np.asarray(affine @ scale)


def factors_for(affine: Array, shape: tuple[int, ...], spacing: float) -> tuple[int, int, int]:
    """How many voxels along each axis make one of about `spacing` mm, at least 1."""
    own = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    x, y, z = (max(1, min(n, round(spacing / s))) for s, n in zip(own, shape, strict=True))
    return x, y, z


def blur(values: torch.Tensor, sigma: npt.NDArray[np.float64]) -> torch.Tensor:
    """Gaussian blur of [C, X, Y, Z] by `sigma` voxels along each axis; edges repeat."""
    for axis, width in enumerate(sigma):
        n = values.shape[axis + 1]
        if width < 0.3 or n < 2:
            continue
        kernel = _gaussian_matrix(n, float(width), values.device)
        values = torch.movedim(torch.movedim(values, axis + 1, -1) @ kernel, -1, axis + 1)
    return values.contiguous()


def _gaussian_matrix(n: int, sigma: float, device: torch.device) -> torch.Tensor:
    """[n, n] column j: weights of the voxels for output j; columns sum to 1."""
    step = np.arange(n)
    weights = np.exp(-0.5 * ((step[:, None] - step[None]) / sigma) ** 2)
    return torch.from_numpy((weights / weights.sum(axis=0)).astype(np.float32)).to(device)
