"""Parts in, one volume out: the part that surely overlaps next is registered and blended in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage

from medvae import modality as modalities
from medvae.errors import InputError, UsageError
from medvae.progress import SILENT, Progress
from medvae.stitching.mosaic import EDGE, Mosaic, sampled
from medvae.stitching.parts import (
    Array,
    Matrix,
    Part,
    Placement,
    Start,
    corners,
    points,
    translation,
)
from medvae.stitching.refine import Freedom, Image, agreement, overlapping, refine
from medvae.stitching.search import LEAST_PART, Mask, correlate, smoothed
from medvae.stitching.search import band as fine_structure
from medvae.volume import Volume

MOST_PARTS: Final = 32
# Voxels along an axis of the grids on which all shifts are searched.
MOST_3D, MOST_2D = 64, 320
# Headers count when the images overlap this near to what they say, in voxels of the search.
NEAR: Final = 4
# ... and agree there nearly as surely as anywhere.
LEAST_RATIO: Final = 0.8
# By chance alone the best of a million shifts reaches 5.
SIGNIFICANT: Final = 7.0
# Scans of two people who lie alike reach 0.6; two scans of one differ by noise alone.
LEAST_CORRELATION: Final = 0.7
# A registration on the first part's grid needs no resampling: another must agree better than
# it by this part of what is left to agree.
BETTER: Final = 0.08
# ... and by what smoothing across the ends of parts alone makes.
ROUNDED: Final = 0.002
# Grids are parallel whose axes differ by less than this, in voxels over the whole part.
PARALLEL: Final = 0.01
# Gaussian mean before an image is brought to the search's grid, in steps of that.
SMOOTHING: Final = 0.4


@dataclass(frozen=True)
class Options:
    """How parts are joined.

    Attributes:
        freedom: what registration may do beyond shifts.
        match: whether gain and offset are matched in the overlap; None: where the modality has
            no absolute scale.
    """

    freedom: Freedom = "rigid"
    match: bool | None = None


@dataclass(frozen=True)
class Joined:
    """The whole, and where each part went (in the order of the parts)."""

    volume: Volume
    placements: tuple[Placement, ...]


def join(
    parts: Sequence[Part], options: Options | None = None, progress: Progress = SILENT
) -> Joined:
    """One volume on the grid of the first part, extended over all of them.

    Other parts are resampled on it by cubic splines (labels: nearest voxel), and only where
    registration leaves the grid. What no part shows has the lowest value of all parts.

    Raises:
        UsageError: fewer than two parts, or more than `MOST_PARTS`.
        InputError: parts of several modalities or channels, labels with some alone, or a part
            whose overlap with the others is not significant.
    """
    options = options or Options()
    _check(parts)
    match = options.match
    if match is None:
        match = not modalities.get(parts[0].volume.modality).scaling.absolute
    mosaic = Mosaic(parts[0])
    holes = not all(part.shown.all() for part in parts)
    placed: dict[int, Placement] = {0: Placement(np.eye(4), "first")}
    progress.start("stitch", len(parts))
    while len(placed) < len(parts):
        progress.advance(len(placed))
        number, start = _next(mosaic, parts, placed)
        placement = _register(mosaic, parts[number], start, options.freedom, holes=holes)
        if not match:
            placement = replace(placement, gain=1.0, offset=0.0)
        mosaic.add(parts[number], placement)
        placed[number] = placement
    progress.finish()
    return Joined(_volume(mosaic, parts), tuple(placed[i] for i in range(len(parts))))


def _check(parts: Sequence[Part]) -> None:
    if len(parts) < 2:
        raise UsageError(f"stitch joins at least two parts, and {len(parts)} was given")
    if len(parts) > MOST_PARTS:
        raise UsageError(f"stitch joins at most {MOST_PARTS} parts, not {len(parts)}: join some")
    first = parts[0]
    for part in parts:
        if not part.shown.any():
            raise InputError(f"{part.name} shows nothing: no voxel of it holds a number")
    for part in parts[1:]:
        ours, other = first.volume, part.volume
        if ours.modality != other.modality:
            raise InputError(
                f"{first.name} is {ours.modality} and {part.name} is {other.modality}: "
                "expected parts of one modality"
            )
        if ours.modalities or other.modalities:
            raise InputError(f"{part.name} has channels of several modalities: join each by itself")
        if ours.channels != other.channels:
            raise InputError(f"{first.name} and {part.name} have different channels")
        if (ours.mask is None) != (other.mask is None):
            raise InputError(
                f"{first.name} and {part.name} do not both have labels: give labels of all parts"
            )
        if (ours.shape[2] == 1) != (other.shape[2] == 1):
            raise InputError(f"{first.name} and {part.name} are not both pictures or volumes")


@dataclass(frozen=True)
class _Found:
    matrix: Matrix
    start: Start
    significance: float


def _next(
    mosaic: Mosaic, parts: Sequence[Part], placed: dict[int, Placement]
) -> tuple[int, _Found]:
    """The part that overlaps the whole most surely, and where.

    Raises:
        InputError: none does.
    """
    image = _image(mosaic)
    left = [number for number in range(len(parts)) if number not in placed]
    searches = {number: _search(image, parts[number]) for number in left}
    best = max(left, key=lambda number: searches[number].significance)
    if searches[best].significance < SIGNIFICANT:
        names = ", ".join(parts[number].name for number in left)
        raise InputError(
            f"{names} {_do_not(len(left))} overlap the other parts by more than chance "
            f"(significance {searches[best].significance:.1f}, needed {SIGNIFICANT:g}): "
            "give parts that show some of the same"
        )
    return best, searches[best]


def _do_not(count: int) -> str:
    return "does not" if count == 1 else "do not"


def _image(mosaic: Mosaic) -> Image:
    return Image(mosaic.mean().mean(axis=0), mosaic.weight > 0, mosaic.affine)


def _part_image(part: Part) -> Image:
    grey = part.values.mean(axis=0)
    return Image(grey, part.shown, part.volume.affine)


def _search(fixed: Image, part: Part) -> _Found:
    """The shift (in the headers' space) by which a part overlaps the whole most surely.

    The position that the headers state is taken where the images agree near it.
    """
    moved = _part_image(part)
    most = MOST_3D if len(fixed.axes) == 3 else MOST_2D
    step = np.ceil(np.maximum(np.array(fixed.grey.shape), 1) / most)
    affine = fixed.affine @ np.diag([*step, 1.0])
    a, a_shown, a_first = _coarse(fixed, affine, step)
    b, b_shown, b_first = _coarse(moved, affine, step)
    surface = correlate(fine_structure(a, a_shown), a_shown, fine_structure(b, b_shown), b_shown)
    said = b_first - a_first
    near = surface.peak(said, NEAR)
    best = surface.peak()
    least = max(SIGNIFICANT, LEAST_RATIO * float(surface.significance[best]))
    start: Start = "header" if surface.significance[near] >= least else "search"
    if start == "search":
        near = best
    shift = surface.shift(near) - said
    moved_by = affine[:3, :3] @ shift
    return _Found(translation(moved_by), start, float(surface.significance[near]))


def _coarse(image: Image, affine: Matrix, step: Matrix) -> tuple[Array, Mask, Matrix]:
    """An image on the search's grid, where it is shown, and the grid's first index."""
    box = points(np.linalg.inv(affine) @ image.affine, corners(image.grey.shape)[:, :3])
    first = box.min(axis=0)
    shape = tuple(int(size) for size in np.floor(box.max(axis=0) - first + 1e-6) + 1)
    back = np.linalg.inv(image.affine) @ affine @ translation(first)
    grey = image.grey
    if (step > 1).any():
        grey = smoothed(grey, image.shown, SMOOTHING * float(step.max()))
    index = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3)
    there = points(back, index)
    inside = ((there > -EDGE) & (there < np.array(grey.shape) - 1 + EDGE)).all(axis=1)
    visible = inside.reshape(shape) & (sampled(image.shown.astype(np.uint8), back, shape, 0) > 0)
    return sampled(grey, back, shape, 1).astype(np.float32), visible, first


def _both_shown(fixed: Image, moved: Image, matrix: Matrix) -> tuple[Image, Image]:
    """Both images without what the other one has a hole in: a mean beside a hole is another mean.

    Beyond the other's grid nothing changes.
    """
    there = np.linalg.inv(moved.affine) @ np.linalg.inv(matrix) @ fixed.affine
    images = []
    for image, other, back in ((fixed, moved, there), (moved, fixed, np.linalg.inv(there))):
        hole = ndimage.affine_transform(
            (~other.shown).astype(np.uint8),
            back[:3, :3],
            back[:3, 3],
            output_shape=image.shown.shape,
            order=0,
        )
        images.append(replace(image, shown=image.shown & (hole == 0)))
    return images[0], images[1]


def _register(
    mosaic: Mosaic, part: Part, candidate: _Found, freedom: Freedom, *, holes: bool
) -> Placement:
    """The part's place below a voxel.

    holes: parts have voxels that hold no number.

    Raises:
        InputError: the fine structure does not agree there.
    """
    whole_image, part_image = _image(mosaic), _part_image(part)
    fixed, moved = overlapping(whole_image, part_image, candidate.matrix)
    if holes:
        fixed, moved = _both_shown(fixed, moved, candidate.matrix)
    matrix = refine(fixed, moved, candidate.matrix, freedom)
    overlap = agreement(fixed, moved, matrix)
    whole = _on_grid(fixed, moved, matrix)
    if whole is not None:
        simple = agreement(fixed, moved, whole)
        if simple.correlation >= overlap.correlation - BETTER * (1 - overlap.correlation) - ROUNDED:
            matrix, overlap = whole, simple
    if overlap.correlation < LEAST_CORRELATION:
        raise InputError(
            f"{part.name} does not agree with the parts it seems to overlap (correlation "
            f"{overlap.correlation:.2f}, needed {LEAST_CORRELATION:g}): give parts of one person"
        )
    # Voxels of the whole may have another size than those of the part.
    sizes = [abs(float(np.linalg.det(image.affine[:3, :3]))) for image in (fixed, moved)]
    shared = overlap.voxels * sizes[0] / sizes[1]
    size = int(part_image.shown.sum())
    smaller = min(size, int(whole_image.shown.sum()) * sizes[0] / sizes[1])
    if shared < LEAST_PART * smaller:
        raise InputError(
            f"{part.name} does not overlap the other parts enough: expected at least "
            f"{LEAST_PART:.0%} of the smaller part"
        )
    return Placement(
        matrix,
        candidate.start,
        overlap.gain,
        overlap.offset,
        overlap.correlation,
        candidate.significance,
        min(1.0, shared / size),
    )


def _on_grid(fixed: Image, moved: Image, matrix: Matrix) -> Matrix | None:
    """The nearest registration that needs no resampling; None where the grids are not parallel."""
    to_fixed = np.linalg.inv(fixed.affine)
    plain = to_fixed @ moved.affine
    if np.abs(plain[:3, :3] - np.eye(3)).max() * max(moved.grey.shape) > PARALLEL:
        return None
    middle = (np.array(moved.grey.shape) - 1.0) / 2
    shift = np.rint(points(to_fixed @ matrix @ moved.affine, middle[None])[0] - middle)
    return np.asarray(fixed.affine @ translation(shift) @ np.linalg.inv(moved.affine))


def _volume(mosaic: Mosaic, parts: Sequence[Part]) -> Volume:
    first = parts[0].volume
    lowest = min(float(np.nanmin(part.volume.voxels)) for part in parts)
    voxels = mosaic.mean(lowest)
    if all(part.whole_numbers for part in parts):
        ends = np.iinfo(first.voxels.dtype)
        voxels = np.clip(np.rint(voxels), ends.min, ends.max).astype(first.voxels.dtype)
    return Volume(
        voxels=voxels if first.channels else voxels[0],
        affine=mosaic.affine,
        modality=first.modality,
        mask=mosaic.labels,
        channels=first.channels,
    )
