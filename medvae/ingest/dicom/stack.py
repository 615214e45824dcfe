"""Where slices are in space: their order, their steps, and what makes them no volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError
from medvae.ingest.dicom import dimensions
from medvae.ingest.dicom.frames import Frame
from medvae.ingest.normalise import checked
from medvae.ingest.stacks import (
    SAME_DIRECTION,
    SAME_SPACING,
    UNEVEN,
    is_only_uneven,
    median,
    problem,
    same_place,
)
from medvae.ingest.upright import Stack, can_be_evened, check_tilt

# Of the distance between slices: shift against the neighbour within the plane; more is a
# tilted gantry, which is resampled.
TILT = 0.01
# Times their thickness; gaps between slices of MRI are up to the thickness of one.
FAR_APART = 1.99
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Places = npt.NDArray[np.float64]


def in_order(frames: list[Frame]) -> list[Frame]:
    """Frames by position along the normal; copies of one frame once.

    Raises:
        InputError: different directions, sizes or spacings; two frames at one position.
    """
    _check_alike(frames)
    normal = frames[0].normal
    frames = sorted(frames, key=lambda frame: float(frame.position @ normal))
    places = np.array([frame.position @ normal for frame in frames])
    steps, same = np.diff(places), same_place(places)
    ordered = [frames[0]]
    clashes = 0
    for frame, step in zip(frames[1:], steps, strict=True):
        if step > same:
            ordered.append(frame)
        elif not _is_copy(frame, ordered[-1]):
            clashes += 1
    if len(ordered) == 1 and clashes > 1:
        raise InputError(
            f"its {clashes + 1} slices all have one place (ImagePositionPatient): several time "
            "points of one slice, or a damaged header"
        )
    if clashes:
        raise InputError(
            f"{clashes} of its slices are where another one is: several time points, acquisitions "
            "or reconstructions in one series, to be split first"
        )
    return ordered


def _check_alike(frames: list[Frame]) -> None:
    """Refuse slices that are not of one stack. Raises InputError."""
    first = frames[0]
    for frame in frames:
        if frame.pixels.shape != first.pixels.shape:
            raise InputError("its slices differ in size")
        if frame.orientation is first.orientation and frame.spacing is first.spacing:
            continue  # of a slice that repeats the first one's header
        if np.abs(frame.orientation - first.orientation).max() > SAME_DIRECTION:
            raise InputError("its slices differ in direction")
        if np.abs(frame.spacing - first.spacing).max() > SAME_SPACING * first.spacing.max():
            raise InputError("its slices differ in pixel spacing")


def _is_copy(frame: Frame, other: Frame) -> bool:
    same_position = np.abs(frame.position - other.position).max() < 1e-3
    same_scale = (frame.slope, frame.intercept) == (other.slope, other.intercept)
    return bool(same_position and same_scale and np.array_equal(frame.pixels, other.pixels))


def geometry(frames: list[Frame]) -> Stack:
    """How slices are stacked: voxel index [column, row, slice] to RAS+ mm (PS3.3 C.7.6.2.1.1).

    Raises:
        InputError: missing slices, distances that differ too much, a tilt beyond that of any
            gantry, slices shifted against one another, no known spacing.
    """
    first = frames[0]
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * first.spacing[1]
    affine[:3, 1] = first.orientation[3:] * first.spacing[0]
    affine[:3, 3] = first.position
    shift = along = None
    if len(frames) == 1:
        if first.thickness is None or first.thickness <= 0:
            raise InputError("it is a single slice of unknown thickness")
        affine[:3, 2] = first.normal * first.thickness
    else:
        affine[:3, 2], shift, along = _steps(frames)
    rows, columns = first.pixels.shape
    return Stack(checked(LPS_TO_RAS @ affine, (columns, rows, len(frames))), shift, along)


def _steps(frames: list[Frame]) -> tuple[Places, Places | None, Places | None]:
    """The mean step from one slice to the next; `shift` and `along` of a `Stack`."""
    first = frames[0]
    positions = np.array([frame.position for frame in frames])
    along = positions @ first.normal
    thickness = np.array([np.nan if f.thickness is None else f.thickness for f in frames])
    uneven = problem(along, thickness)
    if uneven and not (is_only_uneven(along, thickness) and can_be_evened(along)):
        raise InputError(uneven)
    dimensions.check_one_scan(along, [frame.traits for frame in frames])
    usual = median(np.diff(along))
    step: Places = (positions[-1] - positions[0]) / (len(frames) - 1)
    within = positions - positions[0] - np.outer(along - along[0], first.normal)
    lean = within[-1] / (along[-1] - along[0])
    if np.abs(within - np.outer(along - along[0], lean)).max() > UNEVEN * usual:
        raise InputError("its slices are shifted against one another: resample it first")
    shift = None
    if (tilt := float(np.sqrt(lean @ lean))) > TILT:
        check_tilt(float(np.degrees(np.arctan(tilt))))
        across = np.stack([first.orientation[:3], first.orientation[3:]], axis=1)
        leaning: Places = np.outer(along - along[0], lean)
        shift = leaning @ across / first.spacing[::-1]
    return step, shift, along if uneven else None


def is_sparse(frames: list[Frame]) -> bool:
    """Whether slices are at least twice as far apart as they are thick (frames in order)."""
    thickness = [frame.thickness for frame in frames if frame.thickness]
    if len(frames) < 2 or len(thickness) < len(frames):
        return False
    normal = frames[0].normal
    along = [float(frame.position @ normal) for frame in frames]
    return median(np.diff(along)) >= FAR_APART * median(np.array(thickness))
