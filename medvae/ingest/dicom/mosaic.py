"""Siemens mosaics: all slices of one time as tiles of one image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from nibabel.nicom import csareader
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest.dicom.values import number, private_number
from medvae.ingest.normalise import Voxels

COUNT = 0x0019_0010, "SIEMENS MR HEADER", 0x0019_100A
CSA_OWNER, CSA = 0x0029_0010, 0x0029_1010
# Of the angle between the normal that the header names and that of its directions.
SAME_NORMAL = 0.99
MOST_TILES = 1024


@dataclass(frozen=True)
class Tiles:
    """The slices of a mosaic.

    Attributes:
        pixels: [count, rows, columns], as stored.
        positions: [count, 3] of the first pixels' centres, millimetres, LPS+.
    """

    pixels: Voxels
    positions: npt.NDArray[np.float64]


def tiles_of(
    header: Dataset,
    image: Voxels,
    corner: npt.NDArray[np.float64],
    orientation: npt.NDArray[np.float64],
    spacing: npt.NDArray[np.float64],
) -> Tiles:
    """Take a mosaic apart.

    The header places the corner of the whole image as if it were one slice centred where the
    first slice is; slices follow along the normal of Siemens' own (CSA) header, which may be
    the opposite of that of the image's directions.

    Args:
        image: [rows, columns] of all tiles.
        corner: [3] ImagePositionPatient; orientation: [6]; spacing: [2], as in `Frame`.

    Raises:
        InputError: the header does not say how many tiles there are, how far apart, or in
            which order.
    """
    csa = _csa(header)
    count = private_number(header, *COUNT) or _whole(csa, "NumberOfImagesInMosaic")
    step = number(header, "SpacingBetweenSlices")
    normal = np.cross(orientation[:3], orientation[3:])
    sign = _sign(csa, normal)
    if not count or not step or not sign or step <= 0 or not 0 < count <= MOST_TILES:
        raise InputError(
            "it is a Siemens mosaic whose private header does not say how many slices it has, how "
            "far apart and in which order: export it as single slices or enhanced DICOM"
        )
    across = math.isqrt(count - 1) + 1
    rows, columns = image.shape[0] // across, image.shape[1] // across
    if (rows * across, columns * across) != image.shape or rows == 0 or columns == 0:
        raise InputError("it is a Siemens mosaic whose size does not fit its number of slices")
    tiles = image.reshape(across, rows, across, columns).swapaxes(1, 2)
    first = (
        corner
        + orientation[:3] * spacing[1] * (image.shape[1] - columns) / 2
        + orientation[3:] * spacing[0] * (image.shape[0] - rows) / 2
    )
    positions = first + np.arange(count)[:, None] * (sign * step * normal)
    return Tiles(tiles.reshape(-1, rows, columns)[:count], positions)


def _sign(csa: dict[str, list[str]], normal: npt.NDArray[np.float64]) -> int:
    """Whether slices follow along (1) or against (-1) the normal; 0 where nothing says it."""
    try:
        vector = np.array([float(value) for value in csa.get("SliceNormalVector", [])])
    except ValueError:
        return 0
    if vector.shape != (3,) or not np.isfinite(vector).all():
        return 0
    along = float(vector @ normal)
    return int(np.sign(along)) if abs(along) > SAME_NORMAL else 0


def _whole(csa: dict[str, list[str]], name: str) -> int:
    values = csa.get(name, [])
    return int(values[0]) if values and values[0].isdecimal() and len(values[0]) < 6 else 0


def _csa(header: Dataset) -> dict[str, list[str]]:
    """Siemens' own header: the text of each value, by name; empty where it is not there."""
    owner, item = header.get(CSA_OWNER), header.get_item(CSA)
    if owner is None or item is None or str(owner.value).strip() != "SIEMENS CSA HEADER":
        return {}
    try:
        tags = csareader.read(item.value)["tags"]
    except Exception:  # noqa: BLE001  whatever a damaged one raises: it says nothing
        return {}
    return {name: [str(value).strip() for value in tag["items"]] for name, tag in tags.items()}
