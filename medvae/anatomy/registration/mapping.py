"""Carrying maps between a subject's grid and the template's frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.registration import sampling
from medvae.anatomy.registration.fit import Alignment
from medvae.anatomy.registration.geometry import Array, BoxGrid, affine_points, transform
from medvae.anatomy.registration.subject import Maps, Subject
from medvae.threads import one_thread

# Fixed-point steps; the displacement changes by less than its own size per mm.
INVERSIONS = 10


def pull_to_subject(
    maps: Maps,
    alignment: Alignment,
    affine: Array,
    shape: tuple[int, int, int],
    device: torch.device | None = None,
) -> Maps:
    """Maps [C, ...] that fill the box, at the voxels of a subject's grid: [C, X, Y, Z].

    affine: [4, 4] the subject's voxel index to scanner mm. Beside the box the border repeats.
    """
    at = device or torch.device("cpu")
    with one_thread():
        points = affine_points(alignment.affine @ affine, shape, at)
        field = alignment.field(field_spacing(alignment), at)
        where = sampling.box_coordinates(points, alignment.box)
        points += sampling.sample(field, where)
        where = sampling.box_coordinates(points, alignment.box)
        values = torch.from_numpy(maps.astype(np.float32, copy=False)).to(at)
        return np.asarray(sampling.sample(values, where).cpu().numpy())


def pull_to_template(
    subject: Subject,
    alignment: Alignment,
    grid: BoxGrid,
    device: torch.device | None = None,
) -> tuple[Maps, npt.NDArray[np.float32]]:
    """A subject's channels (and image) in the template's frame, and what is known there.

    Returns:
        [C (+ 1), X, Y, Z] values and [X, Y, Z] weights, 0 to 1, on `grid`.
    """
    at = device or torch.device("cpu")
    with one_thread():
        points = grid.centres(at)
        if alignment.max_frequency > 0:
            field = alignment.field(field_spacing(alignment), at)
            origin = points
            # q + u(q) = y, solved for q: fixed-point iteration.
            for _ in range(INVERSIONS):
                where = sampling.box_coordinates(points, alignment.box)
                points = origin - sampling.sample(field, where)
        level = subject.prepared(at).at(max(grid.spacing), 0.0)
        to_index = np.asarray(np.linalg.inv(alignment.affine @ level.affine), np.float64)
        size = torch.tensor(level.values.shape[1:], device=at).reshape(3, 1, 1, 1)
        where = (2.0 * transform(to_index, points) + 1.0) / size - 1.0
        values = sampling.sample(level.values, where)
        weight = sampling.sample(level.weight, where)[0]
        weight = torch.where((where.abs() <= 1.0).all(dim=0), weight, 0.0)
        return np.asarray(values.cpu().numpy()), np.asarray(weight.cpu().numpy())


def field_spacing(alignment: Alignment) -> float:
    """Voxel size in mm at which a displacement is evaluated before it is interpolated."""
    if alignment.max_frequency <= 0:
        return alignment.box.edge / 2.0
    # Eight voxels a wave: linear interpolation loses less than a tenth of it.
    return 1.0 / alignment.max_frequency / 8.0
