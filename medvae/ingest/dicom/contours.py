"""DICOM RTSTRUCT: closed planar contours, filled on the slices of their series (PS3.3 C.8.8.6).

A voxel is inside where its middle is; contours of one structure on one slice that lie within one
another cut holes (even-odd rule).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest.dicom.values import text, whole
from medvae.ingest.normalise import Affine
from medvae.ingest.records import Limits
from medvae.ingest.stored import FROM_LPS
from medvae.ingest.upright import Stack

TAGS: list[str | int] = [
    "StructureSetROISequence",
    "ROIContourSequence",
    "ReferencedFrameOfReferenceSequence",
]
OFF_SLICE = 0.25
MOST_POINTS = 1 << 22
ELSEWHERE = "a contour of it is where no image of its series is"

Plane = tuple[int, tuple[Any, ...], npt.NDArray[np.bool_]]


def references(data: Dataset) -> list[tuple[str, str]]:
    """Study and series UID of each series that it was drawn on."""
    return [
        (text(study, "ReferencedSOPInstanceUID"), text(series, "SeriesInstanceUID"))
        for frame in data.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    ]


def space(data: Dataset) -> str:
    """The UID of the frame of reference that its contours are in; empty where none is named."""
    named = {
        text(frame, "FrameOfReferenceUID")
        for frame in data.get("ReferencedFrameOfReferenceSequence") or []
    }
    return named.pop() if len(named) == 1 else ""


def sources(data: Dataset) -> list[Dataset]:
    """The images that its contours name as what they were drawn on."""
    return [
        image
        for structure in data.get("ROIContourSequence") or []
        for contour in structure.get("ContourSequence") or []
        for image in contour.get("ContourImageSequence") or []
    ]


def instances(data: Dataset) -> list[Dataset]:
    """The images of the series that it names as a whole."""
    return [
        image
        for frame in data.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
        for image in series.get("ContourImageSequence") or []
    ]


def names(data: Dataset) -> dict[int, list[str]]:
    """Number of each structure -> what it is called.

    Raises:
        InputError: there is none, or a number stands twice.
    """
    structures: dict[int, list[str]] = {}
    for item in data.get("StructureSetROISequence") or []:
        number = whole(item, "ROINumber")
        if number is None or number in structures:
            raise InputError("its structures are not numbered: the header is damaged")
        structures[number] = [text(item, "ROIName")]
    if not structures:
        raise InputError("it describes no structure")
    return structures


def planes(
    data: Dataset, shape: tuple[int, int, int], stack: Stack, numbers: set[int], limits: Limits
) -> Iterator[Plane]:
    """Number of a structure, the slice, and which voxels [column, row] of it are inside.

    Raises:
        InputError: contours that are not closed and planar, damaged, or on no slice.
    """
    inverse = np.asarray(np.linalg.inv(stack.affine) @ FROM_LPS, np.float64)
    left = MOST_POINTS
    for structure in data.get("ROIContourSequence") or []:
        number = whole(structure, "ReferencedROINumber")
        if number not in numbers:
            continue
        slices: dict[int, npt.NDArray[np.bool_]] = {}
        for contour in structure.get("ContourSequence") or []:
            if _kind(contour) == "POINT":
                continue  # a marker or an isocentre encloses nothing
            points = _points(contour, inverse)
            points[:, 2] = stack.slices_at(points[:, 2])
            left -= len(points)
            if left < 0:
                raise InputError(f"it has more than {MOST_POINTS} points")
            at = _slice(points, shape)
            inside = slices.setdefault(at, np.zeros(shape[:2], bool))
            inside ^= filled(points[:, :2], (shape[0], shape[1]))
        for at, inside in slices.items():
            yield number, (slice(None), slice(None), at), inside


def _kind(contour: Dataset) -> str:
    return text(contour, "ContourGeometricType").upper()


def _points(contour: Dataset, inverse: Affine) -> npt.NDArray[np.float64]:
    """[N, 3] in voxels of the series."""
    if _kind(contour) not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        raise InputError("it has contours that are not closed and planar: leave these out")
    try:
        flat = np.array([float(value) for value in contour.ContourData], np.float64)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("its contours cannot be read: the file is damaged") from error
    if flat.size < 9 or flat.size % 3 or not np.isfinite(flat).all():
        raise InputError("its contours cannot be read: the file is damaged")
    points = flat.reshape(-1, 3)
    return points @ inverse[:3, :3].T + inverse[:3, 3]


def _slice(points: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> int:
    at = float(np.rint(points[:, 2].mean()))
    if not 0 <= at < shape[2] or np.abs(points[:, 2] - at).max() > OFF_SLICE:
        raise InputError(ELSEWHERE)
    if points[:, :2].min() < -1 or (points[:, :2].max(axis=0) > shape[:2]).any():
        raise InputError("its contours reach beyond the images of its series")
    return int(at)


def filled(points: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """[X, Y]: whether the middle of each pixel is inside a polygon, by the even-odd rule.

    Args:
        points: [N, 2] in pixels; the last is joined to the first.
    """
    inside = np.zeros(size, bool)
    across = np.arange(size[0])
    ends = np.roll(points, -1, axis=0)
    low = max(0, int(np.ceil(points[:, 1].min())))
    high = min(size[1] - 1, int(np.floor(points[:, 1].max())))
    for y in range(low, high + 1):
        # Half-open, so that a corner on the line counts once.
        cut = (points[:, 1] <= y) != (ends[:, 1] <= y)
        a, b = points[cut], ends[cut]
        x = a[:, 0] + (y - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
        inside[:, y] = np.searchsorted(np.sort(x), across, side="right") % 2 == 1
    return inside
