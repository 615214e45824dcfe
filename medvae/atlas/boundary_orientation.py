"""Orientation of the boundary between labels, in native space, where protocols often fix it.

Where one part of a structure ends and the next begins is often a convention: head and body of a
hippocampus meet in a coronal plane. Each displacement tilts and bends the template's boundary;
patients' boundaries are not tilted. So the scales (`scales`) measure the mean and the variance of
the patients' boundary normals around the template's, and sampled boundaries are rotated to them.

The mean normal of the boundary between label k and the other labels has the direction of the sum
of the normals of its voxel faces. Its length is the L1 norm of that sum over the number of faces:
1 for a plane, 0 for a closed boundary, which is not rotated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.atlas.basis import Array
from medvae.atlas.displacement import interpolate
from medvae.atlas.features import label_map

Mask = npt.NDArray[np.uint8]
Box = tuple[slice, slice, slice]

# Statistics of a boundary: the three components of its normal less the template's, and the square
# of that difference.
STATISTICS = 4
# Public: with more boundaries none is measured, because they would share the noise of all scales.
MAX_BOUNDARIES = 4
# Smallest length of a normal, and smallest cosine between two normals, for a rotation.
MIN_ALIGNMENT = 0.5


def boundary_count(labels: int) -> int:
    """Number of measured boundaries: those of all labels but the last, or 0 if too many."""
    return labels - 1 if 1 <= labels - 1 <= MAX_BOUNDARIES else 0


@dataclass(frozen=True)
class MeanNormal:
    """Mean normal of one boundary in one mask.

    Attributes:
        vector: [3] from label k to the others, of length at most 1; 0 without a boundary.
        centre: [3] centre of the boundary, in voxels.
    """

    vector: Array
    centre: Array


def mean_normal(mask: Mask, label: int) -> MeanNormal:
    """The mean normal between a label and the other labels of a mask [X, Y, Z]."""
    box = _bounding_box(mask)
    if box is None:
        return MeanNormal(np.zeros(3), np.zeros(3))
    labels = mask[box]
    side = (labels > 0).astype(np.int8)
    side[labels == label] = -1
    total, centre, count = np.zeros(3), np.zeros(3), 0
    for axis in range(3):
        rows = side.swapaxes(0, axis)
        before, after = rows[:-1], rows[1:]
        faces = np.stack(np.nonzero(before * after == -1))
        count += faces.shape[1]
        total[axis] = after[tuple(faces)].sum(dtype=np.int64)
        positions = faces.sum(axis=1, dtype=np.float64)
        positions[0] += 0.5 * faces.shape[1]
        positions[[0, axis]] = positions[[axis, 0]]
        centre += positions
    length = float(np.linalg.norm(total))
    if not length:
        return MeanNormal(np.zeros(3), np.zeros(3))
    corner = np.array([s.start for s in box])
    return MeanNormal(total / length * np.abs(total).sum() / count, centre / count + corner)


def statistics(mask: Mask, reference: Array) -> Array:
    """[B STATISTICS] of the boundaries of the first B labels, around reference normals [B, 3].

    0 for a boundary that the mask or the template lacks.
    """
    rows = np.zeros((len(reference), STATISTICS))
    for label, expected in enumerate(reference, 1):
        normal = mean_normal(mask, label).vector
        if normal.any() and expected.any():
            difference = normal - expected
            rows[label - 1] = [*difference, difference @ difference]
    return rows.ravel()


def mean_normals(mask: Mask, count: int) -> Array:
    """[count, 3] mean normals of the boundaries of the first labels."""
    normals = [mean_normal(mask, label).vector for label in range(1, count + 1)]
    return np.array(normals).reshape(count, 3)


def estimate(reference: Array, mean_statistics: Array) -> Array:
    """[B, STATISTICS] mean normals and, last, the total std around them.

    Args:
        reference: [B, 3] normals of the template.
        mean_statistics: [B STATISTICS] mean of `statistics` over patients.
    """
    rows = mean_statistics.reshape(len(reference), STATISTICS)
    std = np.sqrt(np.maximum(rows[:, 3] - (rows[:, :3] ** 2).sum(axis=1), 0.0))
    return np.column_stack([reference + rows[:, :3], std])


def rotate_to(shapes: Array, mask: Mask, target: Array, sampled: Array) -> Mask:
    """A sampled mask with its boundaries rotated to the patients' orientation.

    Args:
        shapes: [L, X, Y, Z] channels, of which `label_map` makes the mask.
        mask: [X, Y, Z].
        target: [B, STATISTICS] of `estimate`, for the first B labels.
        sampled: [B, STATISTICS] the same of sampled masks before rotation. A sample keeps the
            fraction of its difference from their mean that gives it the patients' std.
    """
    box = _bounding_box(mask)
    if box is None:
        return mask
    rotated, changed = shapes[(slice(None), *box)].copy(), False
    for index, (patients, samples) in enumerate(zip(target, sampled, strict=True)):
        own = mean_normal(mask, index + 1)
        ratio = min(1.0, patients[3] / max(samples[3], 1e-6))
        goal = patients[:3] + ratio * (own.vector - samples[:3])
        lengths = [float(np.linalg.norm(v)) for v in (own.vector, goal)]
        if min(lengths) < MIN_ALIGNMENT:
            continue
        normal, goal = own.vector / lengths[0], goal / lengths[1]
        if normal @ goal < MIN_ALIGNMENT:
            continue
        rotated[index + 1] = _sheared(shapes[index + 1], box, own.centre, normal, goal)
        changed = True
    if not changed:
        return mask
    result = np.zeros_like(mask)
    result[box] = label_map(rotated)
    return result


def _sheared(channel: Array, box: Box, centre: Array, normal: Array, goal: Array) -> Array:
    """The channel in the box, shifted along `normal` so that its boundary has the normal `goal`.

    The channel is resampled, not increased: its slope differs from voxel to voxel.
    """
    axes = [np.arange(s.start, s.stop, dtype=np.float64) for s in box]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    shift = np.einsum("a,axyz->xyz", goal - normal, points - centre.reshape(3, 1, 1, 1))
    sheared = points + normal.reshape(3, 1, 1, 1) * shift
    return np.asarray(interpolate(channel[None], sheared)[0])


def _bounding_box(mask: Mask) -> Box | None:
    """The smallest box that contains all labels; None without labels."""
    inside = mask > 0
    occupied = [np.flatnonzero(inside.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if not len(occupied[0]):
        return None
    x, y, z = (slice(int(indices[0]), int(indices[-1]) + 1) for indices in occupied)
    return x, y, z
