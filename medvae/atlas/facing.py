"""Which way borders between labels face: told in patients' own frames, where a protocol fixes many.

Where one part of a structure ends and the next begins is often agreed on, not seen: head and body
of a hippocampus meet in a coronal plane. A template's border tilts and bends with each field that
deforms it, a patient's does not. So what patients' borders face beside the template's, and how
much that varies, is released (`scales`), and drawn borders are turned until they do the same.

A border between label k and the others faces where the normals of its voxel faces, summed up,
point; its direction's length is how much of the number of faces is left in that sum (in the sum
norm): 1 for a plane, 0 for a border that closes around a label, which is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.atlas.basis import Array
from medvae.atlas.displacement import sample
from medvae.atlas.features import label_map

Mask = npt.NDArray[np.uint8]
Box = tuple[slice, slice, slice]

# Figures of each border: three of the direction, and its squared distance from the template's.
FIGURES = 4
# Public: of more borders none is told, for they would share the noise of all other figures.
MOST = 4
# Shorter, or further from one another (the cosine), directions say nothing to turn by.
LEAST = 0.5


def borders(labels: int) -> int:
    """How many borders between so many labels are told: those of all labels but the last."""
    return labels - 1 if 1 <= labels - 1 <= MOST else 0


@dataclass(frozen=True)
class Facing:
    """One border in one mask.

    Attributes:
        direction: [3] from label k to the others, of length at most 1; 0 without a border.
        centre: [3] its middle, voxels.
    """

    direction: Array
    centre: Array


def facing(mask: Mask, label: int) -> Facing:
    """Of the border between a label and the other labels of a mask [X, Y, Z]."""
    box = _box(mask)
    if box is None:
        return Facing(np.zeros(3), np.zeros(3))
    part = mask[box]
    side = (part > 0).astype(np.int8)
    side[part == label] = -1
    total, middle, count = np.zeros(3), np.zeros(3), 0
    for axis in range(3):
        along = side.swapaxes(0, axis)
        before, after = along[:-1], along[1:]
        faces = np.stack(np.nonzero(before * after == -1))
        count += faces.shape[1]
        total[axis] = after[tuple(faces)].sum(dtype=np.int64)
        places = faces.sum(axis=1, dtype=np.float64)
        places[0] += 0.5 * faces.shape[1]
        places[[0, axis]] = places[[axis, 0]]
        middle += places
    length = float(np.linalg.norm(total))
    if not length:
        return Facing(np.zeros(3), np.zeros(3))
    corner = np.array([s.start for s in box])
    return Facing(total / length * np.abs(total).sum() / count, middle / count + corner)


def figures(mask: Mask, usual: Array) -> Array:
    """[B FIGURES] what the first labels' borders face less `usual` [B, 3].

    0 for a border that the mask or the template lacks.
    """
    found = np.zeros((len(usual), FIGURES))
    for label, expected in enumerate(usual, 1):
        direction = facing(mask, label).direction
        if direction.any() and expected.any():
            found[label - 1, :3] = direction - expected
            found[label - 1, 3] = found[label - 1, :3] @ found[label - 1, :3]
    return found.ravel()


def directions(mask: Mask, count: int) -> Array:
    """[count, 3] what the borders of the first labels face."""
    found = [facing(mask, label).direction for label in range(1, count + 1)]
    return np.array(found).reshape(count, 3)


def told(usual: Array, released: Array) -> Array:
    """[B, FIGURES] mean directions and, last, the deviation of one about it, in all.

    usual: [B, 3] the template's; released: [B FIGURES] means of `figures`.
    """
    off = released.reshape(len(usual), FIGURES)
    spread = np.sqrt(np.maximum(off[:, 3] - (off[:, :3] ** 2).sum(axis=1), 0.0))
    return np.column_stack([usual + off[:, :3], spread])


def turned(shapes: Array, mask: Mask, wanted: Array, drawn: Array) -> Mask:
    """A drawn mask with its borders turned to what patients' face.

    Args:
        shapes: [L, X, Y, Z] the channels that `label_map` makes the mask of.
        wanted: [B, FIGURES] of `told`, for the first B labels.
        drawn: [B, FIGURES] the same of drawn masks before they are turned: a draw keeps as
            much of its own difference from their mean as patients vary.
    """
    box = _box(mask)
    if box is None:
        return mask
    part, changed = shapes[(slice(None), *box)].copy(), False
    for border, (want, usual) in enumerate(zip(wanted, drawn, strict=True)):
        own = facing(mask, border + 1)
        kept = min(1.0, want[3] / max(usual[3], 1e-6))
        goal = want[:3] + kept * (own.direction - usual[:3])
        lengths = [float(np.linalg.norm(v)) for v in (own.direction, goal)]
        if min(lengths) < LEAST:
            continue
        have, goal = own.direction / lengths[0], goal / lengths[1]
        if have @ goal < LEAST:
            continue
        part[border + 1] = _sheared(shapes[border + 1], box, own.centre, have, goal)
        changed = True
    if not changed:
        return mask
    result = np.zeros_like(mask)
    result[box] = label_map(part)
    return result


def _sheared(channel: Array, box: Box, centre: Array, have: Array, goal: Array) -> Array:
    """A channel within the box, moved along `have` until what faced that way faces `goal`.

    Moved, not added to: how steep a channel is differs from place to place.
    """
    axes = [np.arange(s.start, s.stop, dtype=np.float64) for s in box]
    places = np.stack(np.meshgrid(*axes, indexing="ij"))
    ahead = np.einsum("a,axyz->xyz", goal - have, places - centre.reshape(3, 1, 1, 1))
    return np.asarray(sample(channel[None], places + have.reshape(3, 1, 1, 1) * ahead)[0])


def _box(mask: Mask) -> Box | None:
    """Around all labels."""
    inside = mask > 0
    found = [np.flatnonzero(inside.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if not len(found[0]):
        return None
    x, y, z = (slice(int(one[0]), int(one[-1]) + 1) for one in found)
    return x, y, z
