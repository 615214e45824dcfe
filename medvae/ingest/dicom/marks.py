"""Label maps that DICOM keeps as objects of their own, on the grid of the series that they mark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError
from medvae.ingest.dicom import contours, segments
from medvae.ingest.dicom.files import IDENTITY, read_dataset
from medvae.ingest.dicom.headers import file_key
from medvae.ingest.dicom.kinds import marks_of
from medvae.ingest.numbering import segment_labels
from medvae.ingest.records import Limits
from medvae.ingest.upright import Stack

Labels = npt.NDArray[np.uint8]


def labels_of(
    job: dict[str, Any],
    files: Iterator[BinaryIO],
    limits: Limits,
    shape: tuple[int, int, int],
    stack: Stack,
) -> tuple[Labels, bool]:
    """One label map [column, row, slice] of all objects that mark a series.

    Args:
        job: `mark_keys` of the objects, and `scheme`, number -> name, or None: then labels are
            the numbers of the segments.
        files: the objects.
        stack: the slices of the series.

    Returns:
        The label map, and whether a part of it was made of fractions.

    Raises:
        InputError: an object is damaged or of another grid, two segments share a voxel, or it
            is not known which label a segment is.
    """
    salt, keys = bytes.fromhex(job["salt"]), set(job["mark_keys"])
    scheme: Mapping[str, str] | None = job["scheme"]
    if len(job["mark_keys"]) > 1 and not scheme:
        raise InputError(
            f"it is one of {len(job['mark_keys'])} objects that mark its series, and no label "
            "scheme says by name which label each segment is: give --label-scheme"
        )
    labels, fractional = np.zeros(shape, np.uint8), False
    for file in files:
        data = read_dataset(file, IDENTITY + segments.TAGS + contours.TAGS, pixels=True)
        kind = marks_of(data)
        if not kind or file_key(data, salt) not in keys:
            raise InputError("its files changed while they were being read: try again")
        read = contours if kind == "contours" else segments
        fractional |= segments.is_fractional(data)
        numbers = segment_labels(read.names(data), scheme)
        for number, where, inside in read.planes(data, shape, stack, set(numbers), limits):
            _draw(labels[where], inside, numbers[number])
    if not labels.any():
        raise InputError("it marks no voxel of its series")
    return labels, fractional


def _draw(plane: Labels, inside: npt.NDArray[np.bool_], label: int) -> None:
    values = plane[inside]
    if ((values > 0) & (values != label)).any():
        raise InputError(
            "two of its segments share voxels, and a label map holds one label a voxel: name those "
            "to keep with --label-scheme"
        )
    plane[inside] = label
