"""Label maps of pictures: PNG and TIFF files whose grey values or palette numbers are labels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from medvae.errors import InputError
from medvae.ingest import contents

FORMATS: Final = ("PNG", "TIFF")
# White, of 8 and of 16 bits: how drawing programs write what is inside of one outline.
WHITE: Final = (255, 65535)


def read_mask(
    data: bytes, size: tuple[int, int], scheme: Mapping[str, str] | None
) -> npt.NDArray[np.uint8]:
    """[rows, columns] labels of a picture of that size, upright.

    A map in black and white has the one label of the scheme, or 1 without one.

    Raises:
        InputError: no label map, damaged, in colour, or of another size than the picture.
    """
    try:
        values = _values(data, size)
    except (OSError, SyntaxError, ValueError, TypeError) as error:
        # Pillow has no error of its own for a file that is damaged, and reads parts of it late.
        raise InputError("it is damaged or cut short") from error
    numbers = set(np.unique(values).tolist())
    white = next((number for number in WHITE if numbers <= {0, number} and number in numbers), None)
    if white is not None and str(white) not in (scheme or {}):
        values = np.where(values > 0, _only_label(scheme), 0)
    if values.min() < 0 or values.max() > 255:
        raise InputError("its labels are not whole numbers from 0 to 255")
    contents.check_labels(values.astype(np.int16)[..., None])
    return values.astype(np.uint8)


def _values(data: bytes, size: tuple[int, int]) -> npt.NDArray[Any]:
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InputError(
            "it is no PNG or TIFF picture, and other formats change label numbers: save it as PNG"
        ) from error
    # Before any pixel is unpacked: turning may swap the sides.
    if sorted(picture.size) != sorted(size) or getattr(picture, "n_frames", 1) != 1:
        raise InputError(
            f"it has {picture.width} x {picture.height} pixels, and its picture has "
            f"{size[1]} x {size[0]}"
        )
    picture.load()
    values = np.asarray(ImageOps.exif_transpose(picture))
    if values.ndim == 3:
        colours = values[..., : 1 if picture.mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise InputError("it is in colour: save the number of each label as its grey value")
        values = colours[..., 0]
    if values.shape != size:
        raise InputError("it is turned beside its picture: save both upright")
    if values.dtype.kind not in "bui":
        raise InputError("its labels are not whole numbers from 0 to 255")
    return values.astype(np.int64)


def _only_label(scheme: Mapping[str, str] | None) -> int:
    if scheme is None:
        return 1
    if len(scheme) != 1:
        raise InputError(
            f"it is black and white, and the label scheme has {len(scheme)} labels: save the "
            "number of each label as its grey value"
        )
    return int(next(iter(scheme)))
