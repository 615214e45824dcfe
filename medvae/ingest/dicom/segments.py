"""DICOM SEG: binary and fractional segmentations, label maps of segments (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medvae.errors import InputError
from medvae.ingest.dicom.pixels import decoded
from medvae.ingest.dicom.values import floats, text, whole
from medvae.ingest.records import Limits
from medvae.ingest.stored import FROM_LPS
from medvae.ingest.upright import Stack

TAGS: list[str | int] = [
    "SegmentationType",
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "StudiesContainingOtherReferencedInstancesSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "MaximumFractionalValue",
]
MOST_FRAMES = 100_000
# Of a voxel: how far a frame may lie from the grid of its series, in its plane and along it.
OFF_GRID, OFF_SLICE = 0.1, 0.25

# Bits of a pixel by kind; an object that names no kind is read as a label map.
_BITS = {"BINARY": (1, 8), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}

Plane = tuple[int, tuple[Any, ...], npt.NDArray[np.bool_]]


def references(data: Dataset) -> list[tuple[str, str]]:
    """Study and series UID of each series that it was drawn on."""
    own = [(text(data, "StudyInstanceUID"), data)]
    others = data.get("StudiesContainingOtherReferencedInstancesSequence") or []
    return [
        (study, text(series, "SeriesInstanceUID"))
        for study, holder in own + [(text(other, "StudyInstanceUID"), other) for other in others]
        for series in holder.get("ReferencedSeriesSequence") or []
    ]


def sources(data: Dataset) -> list[Dataset]:
    """The images that its frames name as what they were drawn on."""
    groups = [
        *(data.get("PerFrameFunctionalGroupsSequence") or []),
        *(data.get("SharedFunctionalGroupsSequence") or []),
    ]
    return [
        image
        for own in groups
        for derived in own.get("DerivationImageSequence") or []
        for image in derived.get("SourceImageSequence") or []
    ]


def instances(data: Dataset) -> list[Dataset]:
    """The images of the series that it names as a whole."""
    return [
        image
        for series in data.get("ReferencedSeriesSequence") or []
        for image in series.get("ReferencedInstanceSequence") or []
    ]


def names(data: Dataset) -> dict[int, list[str]]:
    """Number of each segment -> what it is called: its label, then its type.

    Raises:
        InputError: there is none, or a number stands twice.
    """
    segments: dict[int, list[str]] = {}
    for item in data.get("SegmentSequence") or []:
        number = whole(item, "SegmentNumber")
        kind = (item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()])[0]
        if number is None or number in segments:
            raise InputError("its segments are not numbered: the header is damaged")
        segments[number] = [text(item, "SegmentLabel"), text(kind, "CodeMeaning")]
    # The background of a label map of segments is no segment.
    segments.pop(0, None)
    if not segments:
        raise InputError("it describes no segment")
    return segments


def planes(
    data: Dataset, shape: tuple[int, int, int], stack: Stack, numbers: set[int], limits: Limits
) -> Iterator[Plane]:
    """Number of a segment, where in the series' grid [column, row, slice], and which voxels there.

    Raises:
        InputError: damaged, too large, or a frame that is not on the grid.
    """
    kind = text(data, "SegmentationType").upper()
    rows, columns = whole(data, "Rows") or 0, whole(data, "Columns") or 0
    groups = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    if min(rows, columns) < 1 or not 1 <= len(groups) <= MOST_FRAMES:
        raise InputError("its size is impossible: the header is damaged")
    if whole(data, "NumberOfFrames") != len(groups):
        raise InputError("it has several frames without a place for each")
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    pixels = _Frames(data, kind, (len(groups), rows, columns), limits)
    inverse = np.linalg.inv(stack.affine) @ FROM_LPS
    for index, own in enumerate(groups):
        number = 0 if pixels.are_labels else _segment(own, shared)
        if not pixels.are_labels and number not in numbers:
            continue
        grid = inverse @ _frame(own, shared)
        grid[2, 2] = stack.slices_at(grid[2, 2])
        frame = pixels.of(index).T
        where, frame = _placed(frame, grid, shape)
        numbers_shown = (
            sorted(numbers & set(np.unique(frame).tolist())) if pixels.are_labels else [number]
        )
        for label in numbers_shown:
            inside = frame == label if pixels.are_labels else frame.astype(bool)
            if inside.any():
                yield label, where, inside


def is_fractional(data: Dataset) -> bool:
    """Whether a voxel of it holds a probability or a part of a segment."""
    return text(data, "SegmentationType").upper() == "FRACTIONAL"


class _Frames:
    """The frames of an object: bits, numbers of segments, or fractions of one."""

    def __init__(
        self, data: Dataset, kind: str, size: tuple[int, int, int], limits: Limits
    ) -> None:
        self._size = size
        self.are_labels = kind not in _BITS or kind == "LABELMAP"
        self._most = _most(data) if is_fractional(data) else None
        bits = whole(data, "BitsAllocated")
        if "PixelData" not in data or bits not in _BITS.get(kind, _BITS["LABELMAP"]):
            raise InputError(f"its pixels are not those of a segmentation ({kind or 'no type'})")
        count = int(np.prod(size, dtype=np.int64))
        if bits == 1:
            stored = data.PixelData
            syntax = UID(text(data.file_meta, "TransferSyntaxUID"))
            if syntax and (not syntax.is_transfer_syntax or syntax.is_encapsulated):
                raise InputError("its bits are compressed, which is not supported: decompress it")
            if len(stored) * 8 < count:
                raise InputError("it ends before its header says it does: the file is truncated")
            self._bits: npt.NDArray[np.uint8] | None = np.frombuffer(stored, np.uint8)
            return
        if count > limits.voxels:
            raise InputError("it has more voxels than are allowed in one volume")
        self._bits = None
        self._pixels = decoded(data, size[0])

    def of(self, index: int) -> npt.NDArray[Any]:
        """[rows, columns] of one frame."""
        if self._bits is None:
            frame: npt.NDArray[Any] = self._pixels[index]
            return frame if self._most is None else _majority(frame, self._most)
        count = self._size[1] * self._size[2]
        # Frames follow one another without being filled up to whole bytes.
        first, last = index * count, (index + 1) * count
        bits = np.unpackbits(self._bits[first // 8 : -(-last // 8)], bitorder="little")
        return bits[first % 8 :][:count].reshape(self._size[1:])


def _most(data: Dataset) -> int:
    """The value of a whole voxel."""
    most = whole(data, "MaximumFractionalValue")
    if most is None or not 0 < most < 256:
        raise InputError(
            "its segments are fractions, and its header does not say of what "
            "(MaximumFractionalValue): store them as BINARY"
        )
    return most


def _majority(frame: npt.NDArray[Any], most: int) -> npt.NDArray[np.bool_]:
    """Voxels of which more than half is the segment's; no two segments have the same one."""
    if int(frame.max()) > most:
        raise InputError("its fractions are above the largest that its header says: it is damaged")
    return np.asarray(frame.astype(np.int64) * 2 > most)


def _segment(own: Dataset, shared: Dataset) -> int:
    for holder in (own, shared):
        for item in holder.get("SegmentIdentificationSequence") or []:
            if (number := whole(item, "ReferencedSegmentNumber")) is not None:
                return number
    raise InputError("a frame of it does not say which segment it shows")


def _frame(own: Dataset, shared: Dataset) -> npt.NDArray[np.float64]:
    """[4, 3]: directions of a column step and of a row step, and the place of the first pixel.

    LPS+, millimetres.
    """
    spacing = _numbers(own, shared, "PixelMeasuresSequence", "PixelSpacing", 2)
    turned = _numbers(own, shared, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    place = _numbers(own, shared, "PlanePositionSequence", "ImagePositionPatient", 3)
    grid = np.zeros((4, 3))
    grid[:3, 0] = np.array(turned[:3]) * spacing[1]
    grid[:3, 1] = np.array(turned[3:]) * spacing[0]
    grid[:3, 2] = place
    grid[3, 2] = 1.0
    return grid


def _numbers(own: Dataset, shared: Dataset, group: str, name: str, count: int) -> list[float]:
    for holder in (own, shared):
        for item in holder.get(group) or []:
            if values := floats(item, name, count):
                return values
    raise InputError(f"its header lacks {name}, so its place in space is unknown")


def _placed(
    frame: npt.NDArray[Any], grid: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[tuple[Any, ...], npt.NDArray[Any]]:
    """Where a frame [columns, rows] is in the grid of its series, axes turned as there.

    Args:
        grid: as `_frame`, in voxels of the series.

    Raises:
        InputError: its pixels are not voxels of one slice of the series.
    """
    steps, first = grid[:3, :2], grid[:3, 2]
    whole_steps = np.rint(steps)
    size = np.array(frame.shape)
    drift = float(np.abs((steps - whole_steps) * np.maximum(size - 1, 1)).max())
    if sorted(np.abs(whole_steps[:2]).sum(axis=0)) != [1, 1] or whole_steps[2].any():
        raise InputError("its frames are in another plane or resolution than its series")
    if np.abs(whole_steps[:2]).sum(axis=1).tolist() != [1, 1]:
        raise InputError("its frames are in another plane or resolution than its series")
    start = np.rint(first)
    off = np.abs(first - start)
    if max(drift, float(off[:2].max())) > OFF_GRID:
        raise InputError("its frames are not on the grid of its series in space")
    if not 0 <= start[2] < shape[2] or off[2] > OFF_SLICE:
        raise InputError("a frame of it is where no image of its series is")
    if whole_steps[0, 0] == 0:
        frame, whole_steps = frame.T, whole_steps[:, ::-1]
    where: list[Any] = []
    for axis in range(2):
        length = frame.shape[axis]
        begin = int(start[axis])
        if whole_steps[axis, axis] < 0:
            frame = np.flip(frame, axis)
            begin -= length - 1
        if begin < 0 or begin + length > shape[axis]:
            raise InputError("its frames reach beyond the images of its series")
        where.append(slice(begin, begin + length))
    return (*where, int(start[2])), frame
