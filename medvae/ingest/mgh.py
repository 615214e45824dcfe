"""MGH and MGZ (FreeSurfer); runs in the confined worker only.

284 bytes of numbers, big-endian, then the voxels. What follows them (scan parameters, commands
with user names) is not parsed.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from medvae.errors import InputError
from medvae.ingest import stored
from medvae.ingest.records import Limits
from medvae.ingest.stored import Affine, Image
from medvae.ingest.streams import open_stream

HEADER = np.dtype(
    [
        ("version", ">i4"),
        ("sizes", ">i4", (4,)),
        ("type", ">i4"),
        ("freedom", ">i4"),
        ("has_place", ">i2"),
        ("spacing", ">f4", (3,)),
        ("directions", ">f4", (3, 3)),
        ("centre", ">f4", (3,)),
    ]
)
BYTES = 284
TYPES = {0: "u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def read(file: BinaryIO, limits: Limits, orientation: str | None) -> Image:
    """An image from its file.

    Args:
        orientation: how the axes run where the header does not say it, such as LIA.

    Raises:
        InputError: not MGH, damaged, too large, or several volumes.
    """
    stream = open_stream(file)
    header = stream.read(BYTES)[: HEADER.itemsize].view(HEADER)[0]
    if header["version"] != 1:
        raise InputError("it is not an MGH file: it does not begin as one")
    shape = stored.checked_shape([int(size) for size in header["sizes"]], limits)
    code = TYPES.get(int(header["type"]))
    if code is None:
        raise InputError("its voxel type is not supported: store int16 or float32")
    affine = _affine(header, shape, orientation)
    space = "scanner" if header["has_place"] else ""
    return Image(stored.voxels(stream, shape, np.dtype(code)), affine, space=space)


def _affine(header: np.void, shape: tuple[int, int, int], orientation: str | None) -> Affine:
    """Voxel index to mm (RAS+): the middle of the grid is at `centre`."""
    if not header["has_place"]:
        if orientation is None:
            raise InputError(stored.UNKNOWN_SIDES)
        return stored.along(orientation, [1.0, 1.0, 1.0])
    affine = np.eye(4)
    # A row is the direction of an axis.
    affine[:3, :3] = header["directions"].astype(np.float64).T * header["spacing"].astype(
        np.float64
    )
    middle = affine[:3, :3] @ (np.array(shape) / 2)
    affine[:3, 3] = header["centre"].astype(np.float64) - middle
    return affine
