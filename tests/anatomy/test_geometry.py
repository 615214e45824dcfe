"""Boxes and their grids, in millimetres."""

from __future__ import annotations

import numpy as np
import torch

from medvae.anatomy.registration.geometry import Box, transform

BOX = Box(low=(-30.0, 5.0, 100.0), size=(60.0, 44.0, 21.0))


def test_voxels_fill_a_box_of_unequal_sides() -> None:
    """Each axis has its own spacing: centres are half a voxel from each face, and evenly spaced."""
    grid = BOX.grid(4.0)
    assert grid.shape == (15, 11, 6)
    np.testing.assert_allclose(grid.spacing, (4.0, 4.0, 3.5))
    centres = grid.centres(torch.device("cpu"))
    assert centres.shape == (3, *grid.shape)
    half = np.asarray(grid.spacing) / 2
    low, high = np.asarray(BOX.low), np.asarray(BOX.low) + np.asarray(BOX.size)
    np.testing.assert_allclose(centres[:, 0, 0, 0], low + half, rtol=1e-6)
    np.testing.assert_allclose(centres[:, -1, -1, -1], high - half, rtol=1e-6)
    np.testing.assert_allclose(grid.voxel_volume * np.prod(grid.shape), np.prod(BOX.size))


def test_an_affine_map_moves_points_as_a_matrix_does() -> None:
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    points = rng.normal(size=(3, 2, 5))
    moved = transform(affine, torch.from_numpy(points).float())
    expected = np.einsum("ab,b...->a...", affine[:3, :3], points) + affine[:3, 3, None, None]
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-5)
