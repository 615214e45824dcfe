"""A label map as DICOM RTSTRUCT: closed planar contours of each label (PS3.3 A.19, C.8.8.5-8).

Radiotherapy systems read structure sets where they do not read segmentations. A contour runs half
way between the middles of voxels inside and outside (marching squares, by contourpy), so that
filling it by voxels' middles gives the label map back. A hole is a contour within another, by the
even-odd rule that readers apply to the contours of one structure on one slice. Equal masks give
equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae.release.dicom import Slices, drawn_on, item
from medvae.release.dicom_files import element, encoded, reference, sequence, write_object

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
# Retired, and what a structure set names a study by all the same (PS3.3 C.8.8.5).
_STUDY = "1.2.840.10008.3.1.2.3.1"
_LONGEST = 64
# Of an element with a length of two bytes (PS3.5, 7.1.2), a separator a point included.
_MOST_BYTES = 0xFFFE


def write_structures(
    path: Path, slices: Slices, mask: npt.NDArray[np.uint8], labels: Mapping[str, str]
) -> None:
    """Write the object.

    Args:
        path: a file that is not there.
        slices: of the series.
        mask: [X, Y, Z] numbers of the scheme, columns and rows as in the slices.
        labels: number in the mask (as text) -> name; each is a structure, also an empty one.
    """
    dataset = _described(slices, mask, labels)
    dataset.StructureSetROISequence = [
        item(
            ROINumber=place,
            ReferencedFrameOfReferenceUID=slices.shared.FrameOfReferenceUID,
            ROIName=name[:_LONGEST].replace("\\", "/"),
            ROIGenerationAlgorithm="AUTOMATIC",
        )
        for place, name in enumerate(labels.values(), 1)
    ]
    dataset.RTROIObservationsSequence = [
        item(
            ObservationNumber=place,
            ReferencedROINumber=place,
            RTROIInterpretedType="ORGAN",
            ROIInterpreter="",
        )
        for place in range(1, len(labels) + 1)
    ]
    contours = [
        _structure(place, slices, mask == int(number)) for place, number in enumerate(labels, 1)
    ]
    write_object(path, dataset, {"ROIContourSequence": sequence("ROIContourSequence", contours)})


def _described(slices: Slices, mask: npt.NDArray[np.uint8], labels: Mapping[str, str]) -> Dataset:
    """Whose it is, what it is, and on which series; without any structure."""
    first = slices.shared
    dataset, _ = drawn_on(slices, mask, labels, STORAGE, "structures")
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesNumber = 3
    dataset.InstanceNumber = 1
    dataset.OperatorsName = ""
    dataset.StructureSetLabel = "LABELS"
    dataset.StructureSetDescription = "Labels generated together with the image"
    dataset.StructureSetDate = first.ContentDate
    dataset.StructureSetTime = first.ContentTime
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_frame(slices)]
    return dataset


def _frame(slices: Slices) -> Dataset:
    """What the contours are in: the frame of reference, and every slice of the series."""
    first = slices.shared
    series = item(
        SeriesInstanceUID=first.SeriesInstanceUID,
        ContourImageSequence=[_image(first, source) for source in slices.own],
    )
    study = item(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _structure(place: int, slices: Slices, inside: npt.NDArray[np.bool_]) -> bytes:
    """The elements of a structure's item: its contours, slice by slice."""
    contours = [
        _contour(slices, index, points)
        for index in np.flatnonzero(inside.any(axis=(0, 1))).tolist()
        for points in _points(inside[:, :, index], _to_mm(slices, index))
    ]
    number = encoded(item(ReferencedROINumber=place))
    return (sequence("ContourSequence", contours) if contours else b"") + number


def _contour(slices: Slices, index: int, points: list[bytes]) -> bytes:
    """The elements of a contour's item, in the order of their tags."""
    return (
        sequence("ContourImageSequence", [reference(slices.shared, slices.own[index])])
        + element("ContourGeometricType", b"CS", b"CLOSED_PLANAR", b" ")
        + element("NumberOfContourPoints", b"IS", str(len(points)).encode("ascii"), b" ")
        + element("ContourData", b"DS", b"\\".join(points), b" ")
    )


def _to_mm(slices: Slices, index: int) -> npt.NDArray[np.float64]:
    """[3, 3] from (column, row, 1) of a slice to mm (LPS)."""
    shared = slices.shared
    directions = np.array(shared.ImageOrientationPatient, np.float64).reshape(2, 3)
    # DICOM names the distance between rows first.
    steps = directions * np.array(shared.PixelSpacing, np.float64)[::-1, None]
    return np.vstack([steps, np.array(slices.own[index].ImagePositionPatient, np.float64)])


def _points(inside: npt.NDArray[np.bool_], to_mm: npt.NDArray[np.float64]) -> Iterator[list[bytes]]:
    """Yields the points of each contour of a slice, as "x\\\\y\\\\z" in mm."""
    contours = []
    for line in _lines(inside):
        places = np.round(np.column_stack([line, np.ones(len(line))]) @ to_mm, 3)
        contours.append([b"%.7g\\%.7g\\%.7g" % tuple(place) for place in places.tolist()])
    if all(sum(map(len, points)) + len(points) <= _MOST_BYTES for points in contours):
        yield from contours
        return
    # What is too long for the element goes in two: the parts share a line and no voxel.
    axis = int(inside.any(axis=1).sum() < inside.any(axis=0).sum())
    lines = np.flatnonzero(inside.any(axis=1 - axis))
    first = inside & np.expand_dims(
        np.arange(inside.shape[axis]) < lines[len(lines) // 2], 1 - axis
    )
    yield from _points(first, to_mm)
    yield from _points(inside & ~first, to_mm)


def _lines(inside: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.float64]]:
    """[N, 2] column and row of the points of each contour."""
    from contourpy import contour_generator

    # A border of what is outside closes contours at the edge; rows are [y, x] there.
    padded = np.pad(inside.T, 1).astype(np.float64)
    for line in contour_generator(z=padded).lines(0.5):
        # The last point is the first one again, which a closed contour does not say.
        yield np.asarray(line, np.float64)[:-1] - 1.0


def _image(shared: Dataset, source: Dataset) -> Dataset:
    return item(
        ReferencedSOPClassUID=shared.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID
    )
