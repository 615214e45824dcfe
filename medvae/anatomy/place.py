"""Where and how large a subject is: the affine map of an alignment as twelve numbers, and back."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from medvae.anatomy.registration.geometry import Array

SIZE: Final = 12
# Correlations of few people are shrunk toward none by this part.
UNCORRELATED: Final = 0.2
# Parts of the vector: rotation (rad), logarithm of the stretch (xx, yy, zz, xy, xz, yz), and the
# point of the template's frame in the middle of the field of view (mm).
ROTATION, STRETCH, SHIFT = slice(0, 3), slice(3, 9), slice(9, 12)
# How much people differ, where there are too few public people: radians, relative size, and
# position as a part of the template's edge.
_TYPICAL: Final = np.array([0.15] * 3 + [0.08] * 3 + [0.04] * 3 + [0.08] * 3)
_ROWS, _COLUMNS = np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2])


def typical(edge: float) -> Array:
    """[12] typical standard deviations; edge: of the template's box, in mm."""
    sizes = _TYPICAL.copy()
    sizes[SHIFT] *= edge
    return sizes


def place_of(affine: Array, centre: Array) -> Array:
    """[12] of an affine map [4, 4], scanner mm to template mm.

    centre: [3] scanner mm of the middle of the field of view.
    """
    linear = affine[:3, :3]
    left_vectors, sizes, right_vectors = np.linalg.svd(linear)
    rotation = Rotation.from_matrix(left_vectors @ right_vectors).as_rotvec()
    stretch = right_vectors.T @ np.diag(np.log(sizes)) @ right_vectors
    return np.concatenate([rotation, stretch[_ROWS, _COLUMNS], linear @ centre + affine[:3, 3]])


def affine_of(place: Array) -> Array:
    """[4, 4] of twelve numbers, from a frame whose origin is the middle of the field of view."""
    stretch = np.zeros((3, 3))
    stretch[_ROWS, _COLUMNS] = stretch[_COLUMNS, _ROWS] = place[STRETCH]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(place[ROTATION]).as_matrix() @ expm(stretch)
    affine[:3, 3] = place[SHIFT]
    return affine


def correlation(places: Array, mean: Array, std: Array) -> Array:
    """[12, 12] correlation of the places [P, 12] of public people, shrunk toward none.

    The size of a person shows in all three axes at once.
    """
    scaled = (places - mean) / std
    correlation = scaled.T @ scaled / len(places) * (1.0 - UNCORRELATED)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)
