"""A drawn picture made to agree with labels that somebody has given."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.anatomy.registration import signed_distances
from medvae.anatomy.registration.geometry import Array

# A label's grey values come from places at most this far away, in mm.
REACH_MM: Final = 12.0
# Voxels beside a border are mixtures; thinner structures than twice that have no other voxels.
BORDER_VOXELS: Final = 1
THIN_VOXELS: Final = 2

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


def repainted(image: Image, drawn: Labels, labels: Labels, spacing: Array, greys: Array) -> Image:
    """A picture of labels `drawn` as a picture of `labels`.

    In each voxel a label looks as it does in the nearest place where the picture shows it; where
    there is none within `REACH_MM`, it has its mean grey value. Borders are as soft as a voxel of
    the finest axis is wide.

    Args:
        image: [X, Y, Z] in [-1, 1]; drawn, labels: [X, Y, Z] 0 for the background, 1..L.
        spacing: [3] voxel size in mm.
        greys: [L] mean grey value of each label.
    """
    parts = _shares(labels, spacing, len(greys))
    painted = np.zeros_like(image)
    middle = float(np.median(image[drawn == 0])) if (drawn == 0).any() else -1.0
    for label, share in enumerate(parts):
        mean = middle if label == 0 else float(greys[label - 1])
        where = _around(share > 0, spacing)
        if where is not None:
            look = _look(image[where], drawn[where] == label, spacing, mean)
            painted[where] += share[where] * look
    return painted


def _shares(label_map: Labels, spacing: Array, labels: int) -> Image:
    """[1 + L, X, Y, Z] part of the background and of each label in each voxel; they sum to 1."""
    softness = float(spacing.min())
    voxel = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    distances = signed_distances(label_map, range(labels + 1), voxel, 2.0 * softness)
    parts = np.clip(0.5 - distances / (2.0 * softness), 0.0, 1.0)
    return np.asarray(parts / np.maximum(parts.sum(axis=0), 1e-6), np.float32)


def _around(there: npt.NDArray[np.bool_], spacing: Array) -> tuple[slice, ...] | None:
    """The box of what is there, and `REACH_MM` round it; None where nothing is."""
    if not there.any():
        return None
    box = ndimage.find_objects(there.astype(np.uint8))[0]
    margin = np.ceil(REACH_MM / spacing).astype(int)
    return tuple(
        slice(max(0, part.start - m), part.stop + m) for part, m in zip(box, margin, strict=True)
    )


def _look(image: Image, there: npt.NDArray[np.bool_], spacing: Array, mean: float) -> Image:
    """[...] what a label would look like anywhere, from where it is."""
    pure = _pure(there)
    if not pure.any():
        return np.full_like(image, mean)
    far, nearest = ndimage.distance_transform_edt(~pure, sampling=spacing, return_indices=True)
    nearest_values = image[tuple(nearest)]
    return np.where(far <= REACH_MM, nearest_values, np.float32(mean))


def _pure(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Voxels of a label alone: those inside, and those of structures that have no inside."""
    inside = ndimage.binary_erosion(there, iterations=BORDER_VOXELS, border_value=1)
    near = ndimage.binary_dilation(inside, iterations=THIN_VOXELS)
    return np.asarray(inside | (there & ~near))
