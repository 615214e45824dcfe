"""NIfTI-1 and NIfTI-2 into images, and Analyze pairs (runs in the sandboxed worker only).

The header's fixed fields are read through nibabel; nothing else of the file is. The
free-text fields (descrip, aux_file, db_name, intent_name) and the extensions are skipped
unparsed, so they cannot reach a volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from medvae.cine import spread, too_few
from medvae.errors import InputError
from medvae.ingest import nifti_header, stored
from medvae.ingest.records import Limits
from medvae.ingest.stored import Affine, Image
from medvae.ingest.streams import Stream, open_stream

MOST_OFFSET = 1 << 26
BINARY = 1
# Long floating numbers and pairs of them, which few systems know.
EXTENDED = (1536, 2048)
NO_START = "the start of its voxels is impossible: the header is damaged"
SINGLE, PAIR = (b"n+1", b"n+2"), (b"ni1", b"ni2")
# What Analyze 7.5 knows; NIfTI added the others.
ANALYZE_TYPES = (2, 4, 8, 16, 64)
ANALYZE = (
    "it is an Analyze file, which does not say which side is left: say how its axes run with "
    "--orientation, such as LAS (to the left, to the front, to the head)"
)


@dataclass(frozen=True)
class Asked:
    """What of a 4-D image is read.

    Attributes:
        frame: (index, count) of evenly spread frames the one to read.
        exact: the image must have so many frames.
        layers: channels that its frames are said to be, where none was asked for.
    """

    frame: tuple[int, int] | None = None
    exact: bool = False
    layers: tuple[str, ...] = ()

    def check(self, there: int) -> None:
        """Refuse an image of so many frames where it is another than was asked for.

        Raises:
            InputError: so it is.
        """
        if self.exact and self.frame is not None and there != self.frame[1]:
            raise InputError(
                f"dataset.json names {self.frame[1]} channels, and it holds {there}: correct it"
            )
        if there > 1 and there == len(self.layers):
            raise InputError(
                f"it holds {there} channels ({', '.join(self.layers)}): take one with --contrast "
                "NAME, or make them channels of one volume with --channels"
            )


def read(
    files: Iterator[BinaryIO],
    names: list[str],
    limits: Limits,
    orientation: str | None,
    asked: Asked | None = None,
) -> Image:
    """An image from its file, or from the two files of a pair, header first.

    Args:
        names: of the files.
        asked: what of a 4-D image to read; without it one of time points is refused.
        orientation: how axes run where a header does not say it (always of Analyze), such as LAS.

    Raises:
        InputError: not NIfTI, damaged, too large, not one scalar 3-D image.
    """
    is_pair = len(names) > 1
    stream = open_stream(next(files))
    header = _header(stream, PAIR if is_pair else SINGLE)
    frame, there = (asked.frame if asked else None), _frames(header)
    if asked is not None:
        asked.check(there)
    shape, kind = _shape(header, limits, is_cine=frame is not None), _kind(header)
    if header["magic"].item()[:3] in PAIR + SINGLE:
        affine, notes = nifti_header.affine(header, shape, orientation)
        slope, intercept, more = nifti_header.scale(header)
        space, shows = nifti_header.space(header), nifti_header.intent(header)
        notes = [*notes, *more]
    else:
        affine, (slope, intercept) = _analyze(header, orientation)
        space, shows, notes = "", "", []
    if is_pair:
        stream = _voxels_of_pair(next(files), header)
    else:
        _skip_to_voxels(stream, header)
    if frame is None:
        voxels = stored.voxels(stream, shape, kind)
    else:
        index, count = frame
        if there < count:
            raise InputError(too_few(there, count))
        notes += ["frames"] if there > count and index == 0 else []
        voxels = stored.voxels_of_frame(stream, shape, kind, spread(count, there)[index], there)
    return Image(voxels, affine, slope, intercept, space=space, shows=shows, notes=tuple(notes))


def _analyze(header: Nifti1Header, orientation: str | None) -> tuple[Affine, tuple[float, float]]:
    """Affine and scale of an Analyze header, whose numbers are where NIfTI has them, too.

    Raises:
        InputError: nobody said how its axes run, or its voxel type is not one of Analyze.
    """
    if orientation is None:
        raise InputError(ANALYZE)
    if int(header["datatype"]) not in ANALYZE_TYPES:
        raise InputError("its voxel type is unknown to Analyze")
    # SPM keeps its scale there; Analyze itself leaves it 0.
    slope = float(header["scl_slope"]) or 1.0
    steps = np.abs(np.array(header["pixdim"][1:4], np.float64))
    return stored.along(orientation, steps), (slope, 0.0)


def _voxels_of_pair(file: BinaryIO, header: Nifti1Header) -> Stream:
    stream = open_stream(file)
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MOST_OFFSET:
        raise InputError(NO_START)
    stream.read(int(offset))
    return stream


def _header(stream: Stream, marks: tuple[bytes, bytes]) -> Nifti1Header:
    """The header, with one of these marks in it; of a pair without any it is Analyze's."""
    start = stream.read(4).tobytes()
    for order, endianness in (("little", "<"), ("big", ">")):
        size = int.from_bytes(start, order)  # type: ignore[arg-type]
        if size in (348, 540):
            block = start + stream.read(size - 4).tobytes()
            kind = Nifti1Header if size == 348 else Nifti2Header
            header = kind(block, endianness=endianness, check=False)
            break
    else:
        raise InputError("it is not a NIfTI file: the header does not begin as one")
    magic = header["magic"].item()[:3]
    if magic not in marks:
        if magic in (b"ni1", b"ni2"):
            raise InputError("its voxels lie in a separate .img file: put it beside the .hdr file")
        if magic in (b"n+1", b"n+2"):
            raise InputError("its header is that of a single NIfTI file: name it .nii")
        if marks == PAIR and kind is Nifti1Header:
            return header
        raise InputError("it is not a NIfTI file: the header lacks the NIfTI mark")
    return header


def _shape(header: Nifti1Header, limits: Limits, *, is_cine: bool) -> tuple[int, int, int]:
    dims = _dims(header)
    if max(dims[4:], default=1) > 1:
        sizes = stored.times(dims)
        raise InputError(
            f"it has several values a voxel ({sizes}): expected one grey value a voxel"
        )
    return stored.checked_shape(dims[:3] + dims[4:] if is_cine else dims, limits)


def _frames(header: Nifti1Header) -> int:
    """How many frames the fourth axis has."""
    return (_dims(header)[3:4] or [1])[0]


def _dims(header: Nifti1Header) -> list[int]:
    dims = [int(d) for d in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise InputError("its number of dimensions is impossible: the header is damaged")
    sizes = dims[1 : dims[0] + 1]
    # A size of 0 behind the three of space counts as 1, as in the reference library of the format.
    return sizes[:3] + [size or 1 for size in sizes[3:]]


def _kind(header: Nifti1Header) -> np.dtype[Any]:
    if int(header["datatype"]) == BINARY:
        raise InputError("its voxels are single bits (NIfTI type 1): store a mask as uint8")
    try:
        kind: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise InputError("its voxel type is unknown to NIfTI") from error
    if int(header["datatype"]) in EXTENDED:
        raise InputError("its voxels have 128 bits or more each: store float32")
    if kind.fields or kind.kind == "V":
        raise InputError("it is a colour image: expected one grey value a voxel")
    if kind.kind == "c":
        raise InputError("its voxels are complex numbers: store the magnitude")
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise InputError("its voxel type is not supported: store int16 or float32")
    return kind


def _skip_to_voxels(stream: Stream, header: Nifti1Header) -> None:
    offset = float(header["vox_offset"])
    smallest = header.single_vox_offset
    if offset == 0:
        offset = smallest
    if not smallest <= offset <= MOST_OFFSET:
        raise InputError(NO_START)
    stream.read(int(offset) - header.sizeof_hdr)
