"""Group-wise alignment of public people: a mean template, and the pose of each person in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvae.anatomy.registration import (
    Alignment,
    Box,
    Settings,
    Subject,
    Template,
    pull_to_template,
    register,
)
from medvae.anatomy.registration.cosines import CosineBasis
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.registration.subject import Kind, Maps
from medvae.progress import SILENT, Progress

# Public constants. The box: the first person's anatomy and a margin on each side, relative to
# the box's edge: air round a whole region, or the neighbourhood of an organ.
MARGIN = {"shares": 0.05, "distances": 0.25}
# Voxels of the mean template along the edge of a cube of the box's volume.
VOXELS_PER_EDGE = 56
SPACING_STEP_MM = 0.25
# Standard deviation of a person's channel from the mean one in its place.
SHARE_STD = 0.3
DISTANCE_STD_MM = 3.0
# Deformation rounds after the affine one.
ROUNDS = 2


@dataclass(frozen=True)
class Group:
    """People in one frame.

    Attributes:
        template: the mean channels.
        alignments: one a person, in the given order.
    """

    template: Template
    alignments: tuple[Alignment, ...]


def align_group(
    people: Sequence[Subject], kind: Kind, limit: float, progress: Progress = SILENT
) -> Group:
    """Align people to their own mean: affine, then `ROUNDS` rounds of deformation.

    The frame has the mean size and direction of the people, and their mean deformation is zero.

    Args:
        people: at least one; the channels of all mean the same, and are of `kind`.
        limit: what a channel of distances holds where nobody is known, in mm.

    Raises:
        ValueError: nobody shows any foreground.
    """
    first = people[_widest(people, kind)]
    box, spacing, placed = _frame(first, kind)
    identity = Alignment(box, 0.0, placed, np.zeros((3, 0)), 0.0, 1.0)
    progress.start("aligning the library", len(people) * (1 + ROUNDS))
    template = _mean([first], [identity], box, spacing, kind, limit)
    affine = Settings(spacing=spacing, max_frequency=0.0)
    full = Settings(spacing=spacing)
    if len(people) == 1:
        progress.finish()
        return Group(template, (_undeformed(identity, full.max_frequency),))
    alignments: list[Alignment] = []
    for done, person in enumerate(people, 1):
        alignments.append(register(person, template, affine))
        progress.advance(done)
    for turn in range(1, ROUNDS + 1):
        alignments = _centred(alignments)
        template = _mean(people, alignments, box, spacing, kind, limit)
        for index, person in enumerate(people):
            start = alignments[index]
            alignments[index] = register(person, template, full, start=start)
            progress.advance(turn * len(people) + index + 1)
    alignments = _centred(alignments)
    template = _mean(people, alignments, box, spacing, kind, limit)
    progress.finish(f"{len(people)} people")
    return Group(template, tuple(alignments))


def _undeformed(alignment: Alignment, max_frequency: float) -> Alignment:
    """The same pose, with a deformation of zero."""
    count = len(CosineBasis(alignment.box, max_frequency))
    return replace(alignment, max_frequency=max_frequency, coefficients=np.zeros((3, count)))


def _foreground(person: Subject, kind: Kind) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    if kind == "distances":
        return np.asarray((person.channels < 0).any(axis=0))
    return np.asarray(person.channels.sum(axis=0) > 0.5)


def _widest(people: Sequence[Subject], kind: Kind) -> int:
    """The person whose anatomy spans the largest volume: the field of view cuts off least."""
    spans = []
    for person in people:
        low, high = _span(person, kind)
        spans.append(float(np.prod(high - low)))
    return int(np.argmax(spans))


def _span(person: Subject, kind: Kind) -> tuple[Array, Array]:
    """Corners, in scanner mm along the scanner's axes, of the box round a person's anatomy."""
    index = np.argwhere(_foreground(person, kind))
    if not len(index):
        return np.zeros(3), np.zeros(3)
    ends = np.stack([index.min(axis=0) - 0.5, index.max(axis=0) + 0.5])
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1)
    points = person.affine[:3, :3] @ corners + person.affine[:3, 3:]
    return points.min(axis=1), points.max(axis=1)


def _frame(first: Subject, kind: Kind) -> tuple[Box, float, Array]:
    """The box, centred on the origin; the spacing in it; [4, 4] of the first person."""
    low, high = _span(first, kind)
    if not (high > low).all():
        raise ValueError("nobody in the library shows any labelled anatomy")
    edge = float(np.prod(high - low) ** (1.0 / 3.0))
    size = high - low + 2.0 * MARGIN[kind] * edge
    least_edge = float(np.prod(size) ** (1.0 / 3.0)) / VOXELS_PER_EDGE
    # Finer voxels than the person's own would hold nothing more.
    own = float(np.sqrt((first.affine[:3, :3] ** 2).sum(axis=0)).min())
    spacing = max(1, round(max(least_edge, own) / SPACING_STEP_MM)) * SPACING_STEP_MM
    x, y, z = (float(np.ceil(side / spacing) * spacing) for side in size)
    placed = np.eye(4)
    placed[:3, 3] = -(low + high) / 2.0
    return Box((-x / 2.0, -y / 2.0, -z / 2.0), (x, y, z)), spacing, placed


def _mean(
    people: Sequence[Subject],
    alignments: Sequence[Alignment],
    box: Box,
    spacing: float,
    kind: Kind,
    limit: float,
) -> Template:
    """Mean channels in the frame; each voxel over the people who show it."""
    grid = box.grid(spacing)
    count = len(people[0].channels)
    total = np.zeros((count, *grid.shape), np.float32)
    weights = np.zeros(grid.shape, np.float32)
    for person, alignment in zip(people, alignments, strict=True):
        values, inside = pull_to_template(replace(person, image=None), alignment, grid)
        total += values * inside
        weights += inside
    unknown = limit if kind == "distances" else 0.0
    mean: Maps = np.where(weights > 0.5, total / np.maximum(weights, 0.5), np.float32(unknown))
    std = SHARE_STD if kind == "shares" else DISTANCE_STD_MM
    return Template(box, mean, kind, np.full(count, std))


def _centred(alignments: Sequence[Alignment]) -> list[Alignment]:
    """The same people in the frame where the mean map and the mean deformation do nothing."""
    linear = np.mean([np.linalg.inv(alignment.affine)[:3, :3] for alignment in alignments], axis=0)
    centre = alignments[0].box.centre
    change = np.eye(4)
    change[:3, :3] = linear
    change[:3, 3] = centre - linear @ centre
    cosines = np.mean([alignment.coefficients for alignment in alignments], axis=0)
    return [
        replace(
            alignment,
            affine=change @ alignment.affine,
            coefficients=alignment.coefficients - cosines,
        )
        for alignment in alignments
    ]
