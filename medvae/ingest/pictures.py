"""PNG, JPEG and TIFF into pictures (runs in the sandboxed worker only).

Pixels alone are kept: comments, profiles, GPS, thumbnails and all other metadata are dropped, and
the orientation that a camera noted is applied first. Grey values of every depth become 0 to 255;
those of 16 bits keep their fractions. A picture has no voxel size: 1 mm is nominal.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import (
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.ingest.picture_masks import read_mask
from medvae.ingest.records import Limits
from medvae.volume import Volume

# Without these imports a plugin would be looked for after the walls are up.
FORMATS: Final = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        TiffImagePlugin.TiffImageFile,
    )
)
# 134 million: larger than any detector's; ten times as many would fit into a small file.
MOST_PIXELS: Final = 1 << 27
MOST_BYTES: Final = 1 << 30
LONGEST_SIDE: Final = 32767
WIDE: Final = 65535.0
GREY: Final = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
COLOUR: Final = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr")
REFUSED: Final = {
    "CMYK": "its colours are of printing inks (CMYK): convert it to RGB",
    "LAB": "its colours are in the CIELAB space: convert it to RGB",
    "HSV": "its colours are in the HSV space: convert it to RGB",
    "F": "its values are fractions on a scale that it does not say: convert it to 8 or 16 bits",
}
PHOTOMETRIC, BITS = 262, 258

Pixels = npt.NDArray[Any]


def picture_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], memoryview]:
    """Job: a picture -> {"ok": facts} and the bytes of a volume [X, Y, 1], or of its channels.

    `job["masks"]`: how many label maps follow it; `job["numbers"]`: a label for each, which is then
    of one structure; empty where a single one has the labels itself.
    """
    data = _bytes(files, limits)
    kind = modalities.get(job["modality"])
    pixels, notes = read_picture(data, limits)
    pixels = _as_wanted(pixels, bool(kind.channels), notes)
    if pixels.min() == pixels.max():
        raise InputError("all its pixels are the same: there is nothing on it")
    try:
        mask = _mask(job, files, limits, (pixels.shape[0], pixels.shape[1]))
    except InputError as error:
        raise InputError(f"its mask cannot be used: {error}") from error
    # Rows run down, the second axis of a volume runs up.
    turned = pixels[::-1].swapaxes(0, 1)
    voxels = (np.moveaxis(turned, 2, 0) if kind.channels else turned)[..., None]
    volume = Volume(
        np.ascontiguousarray(voxels),
        np.eye(4),
        kind.name,
        None if mask is None else np.ascontiguousarray(mask[::-1].swapaxes(0, 1)[..., None]),
        meta=job["meta"],
        channels=kind.channels,
    )
    return {"ok": {"notes": sorted(notes)}}, volume.to_bytes()


def _bytes(files: Iterator[BinaryIO], limits: Limits) -> bytes:
    data = next(files).read(min(MOST_BYTES, limits.file_bytes) + 1)
    if len(data) > min(MOST_BYTES, limits.file_bytes):
        raise InputError("the file is too large for a picture")
    return data


def _mask(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits, size: tuple[int, int]
) -> npt.NDArray[np.uint8] | None:
    """The label map [rows, columns] of a picture; None where it has none."""
    if not job.get("masks"):
        return None
    if not job["numbers"]:
        return read_mask(_bytes(files, limits), size, job["scheme"])
    merged = np.zeros(size, np.uint8)
    for number in job["numbers"]:
        inside = read_mask(_bytes(files, limits), size, None) > 0
        if (merged[inside] > 0).any():
            raise InputError("two of its masks share a pixel: give one mask with all labels")
        merged[inside] = number
    return merged


def read_picture(data: bytes, limits: Limits) -> tuple[Pixels, set[str]]:
    """[rows, columns] grey or [rows, columns, 3] colour values, 0 to 255, and what to note.

    int16, or float32 of what had more than 8 bits.

    Raises:
        InputError: not such a picture, damaged, too large, of several frames, transparent, or of
            colours that have no one meaning.
    """
    try:
        return _read(data, limits)
    except (OSError, SyntaxError, ValueError, TypeError) as error:
        # Pillow has no error of its own for a file that is damaged, and reads parts of it late.
        raise InputError("it is damaged or cut short") from error


def _read(data: bytes, limits: Limits) -> tuple[Pixels, set[str]]:
    """As `read_picture`, with Pillow's errors of damaged files."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InputError("it is not a PNG, JPEG or TIFF picture, whatever its name says") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"it has more than {MOST_PIXELS} pixels") from error
    _check_size(picture, limits)
    if getattr(picture, "n_frames", 1) != 1:
        raise InputError("it has several frames or pages: give one picture a file")
    if reason := REFUSED.get(picture.mode):
        raise InputError(reason)
    if picture.mode not in GREY + COLOUR:
        raise InputError("its kind of pixel is not known: convert it to grey or RGB of 8 bits")
    facts = _facts(picture)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    notes = {"deep"} if facts["deep"] else set()
    return _pixels(upright, facts, notes), notes


def _check_size(picture: Image.Image, limits: Limits) -> None:
    """Before any pixel is unpacked: a few kilobytes can claim gigabytes."""
    most = min(MOST_PIXELS, limits.voxels)
    if picture.width * picture.height > most:
        raise InputError(f"it has more than {most} pixels")
    if max(picture.size) > LONGEST_SIDE:
        raise InputError(f"a side of it is longer than {LONGEST_SIDE} pixels")


def _facts(picture: Image.Image) -> dict[str, Any]:
    """What is gone once the pixels are unpacked: depth, and whether 0 is white."""
    raw = " ".join(str(tile[3]) for tile in getattr(picture, "tile", ()))
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(BITS, (8,))
    return {
        "deep": picture.mode.startswith("RGB") and ";16" in raw,
        "inverted": tags.get(PHOTOMETRIC) == 0 and picture.mode.startswith("I"),
        "most": 2.0 ** bits[0] - 1 if 8 < bits[0] <= 16 else WIDE,
    }


def _pixels(picture: Image.Image, facts: dict[str, Any], notes: set[str]) -> Pixels:
    if "A" in picture.getbands() or "transparency" in picture.info:
        if _shines_through(picture):
            raise InputError(
                "parts of it are transparent, and what is behind them is not known: save it "
                "without transparency"
            )
        notes.add("opaque")
    if picture.mode.startswith("I"):
        return _wide(np.asarray(picture), facts)
    grey = picture.mode in GREY
    return np.asarray(picture.convert("L" if grey else "RGB")).astype(np.int16)


def _shines_through(picture: Image.Image) -> bool:
    """Whether a pixel is transparent: by a band, by its palette, or by being of one colour."""
    if picture.mode.startswith("I"):
        return bool((np.asarray(picture) == picture.info["transparency"]).any())
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    return bool(alpha.min() < np.iinfo(np.uint8).max)


def _wide(values: Pixels, facts: dict[str, Any]) -> Pixels:
    """Values of more than 8 bits as 0 to 255, in fractions."""
    most = float(facts["most"])
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > most:
        raise InputError(
            f"its values run from {low:g} to {high:g}, beyond 16 bits: convert it to 8 or 16 bits"
        )
    part = values.astype(np.float64) / most
    return np.asarray((1.0 - part if facts["inverted"] else part) * 255.0, np.float32)


def _as_wanted(pixels: Pixels, colour: bool, notes: set[str]) -> Pixels:
    """Grey as colour, or colour that is grey as grey.

    Raises:
        InputError: it has colours, and grey values were asked for.
    """
    if colour and pixels.ndim == 2:
        notes.add("grey")
        return np.repeat(pixels[..., None], 3, axis=2)
    if colour or pixels.ndim == 2:
        return pixels
    if (pixels != pixels[..., :1]).any():
        raise InputError(
            "it has colours, and a radiograph has none: ingest it with --modality photo, or "
            "convert it to grey"
        )
    return pixels[..., 0]
