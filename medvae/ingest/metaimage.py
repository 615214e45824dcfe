"""MetaImage (.mha, and .mhd beside its voxels; ITK's MetaIO); runs in the confined worker only.

Directions and places are ITK's: x to the left, y to the back. Comments and other text are
passed over, so they cannot reach a volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from medvae.errors import InputError
from medvae.ingest import stored, texts
from medvae.ingest.records import Limits
from medvae.ingest.stored import Affine, Image
from medvae.ingest.streams import Gunzip, Plain, Stream

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
PLACES = ("Offset", "Position", "Origin")
LAST = "ElementDataFile"
MOST_SKIP = 1 << 26
# MetaIO's letters say where an axis begins; ours say where it runs to.
OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")

Fields = dict[str, str]


def read(
    files: Iterator[BinaryIO], names: list[str], limits: Limits, orientation: str | None
) -> Image:
    """An image from its file, or from a header and the files beside it.

    Args:
        names: of the files; the first is the header.
        orientation: how the axes run where the header does not say it, such as LPS.

    Raises:
        InputError: not MetaImage, damaged, too large, or not one scalar 3-D image.
    """
    file = next(files)
    fields = _header(file)
    shape = stored.checked_shape(_sizes(fields), limits)
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise InputError("it has several values a voxel: expected one grey value a voxel")
    kind = _kind(fields)
    affine = _affine(fields, orientation)
    slope = texts.numbers(fields.get("ElementToIntensityFunctionSlope", "1"), "slope")[0]
    intercept = texts.numbers(fields.get("ElementToIntensityFunctionOffset", "0"), "offset")[0]
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if fields[LAST].upper() != "LOCAL":
        file = texts.voxel_file(_one_name(fields[LAST]), names[1:], files)
    voxels = stored.voxels(_stream(file, fields, size), shape, kind)
    placed = any(name in fields for name in DIRECTIONS) and any(name in fields for name in PLACES)
    return Image(voxels, affine, slope, intercept, space="scanner" if placed else "")


def _header(file: BinaryIO) -> Fields:
    """The fields; the file is left at the first byte of the voxels."""
    fields: Fields = {}
    for line in texts.lines(file):
        key, mark, value = (part.strip() for part in line.partition("="))
        if not fields and key not in ("ObjectType", "NDims", "Comment"):
            raise InputError("it is not a MetaImage file: it does not begin as one")
        if not mark or key in fields:
            raise InputError(f"a line of its header is no field, or stands twice: {texts.DAMAGED}")
        fields[key] = value
        if key == LAST:
            break
    if fields.get("ObjectType", "Image") != "Image":
        raise InputError("it is a MetaIO file of another kind: expected ObjectType = Image")
    for name in ("NDims", "DimSize", "ElementType", LAST):
        if name not in fields:
            raise InputError(f"its header lacks {name}: {texts.DAMAGED}")
    return fields


def _sizes(fields: Fields) -> list[int]:
    sizes = texts.integers(fields["DimSize"], "DimSize")
    if texts.integers(fields["NDims"], "NDims") != [len(sizes)] or len(sizes) > 10:
        raise InputError(f"DimSize of its header does not fit NDims: {texts.DAMAGED}")
    return sizes


def _kind(fields: Fields) -> np.dtype[Any]:
    code = TYPES.get(fields["ElementType"])
    if code is None:
        raise InputError("its voxel type is not supported: store int16 or float32")
    if "BinaryData" in fields and not _is_true(fields, "BinaryData"):
        raise InputError("its voxels are written as text (BinaryData): store them as binary")
    big = any(
        _is_true(fields, field) for field in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    )
    return np.dtype((">" if big else "<") + code)


def _is_true(fields: Fields, name: str) -> bool:
    value = fields.get(name, "False").lower()
    if value not in ("true", "false", "1", "0", "t", "f", "yes", "no"):
        raise InputError(f"{name} of its header is neither True nor False: {texts.DAMAGED}")
    return value in ("true", "1", "t", "yes")


def _affine(fields: Fields, orientation: str | None) -> Affine:
    """Voxel index to mm (RAS+)."""
    count = len(_sizes(fields))
    spacing = _list(fields, ("ElementSpacing", "ElementSize"), count)
    if spacing is None:
        raise InputError("its header does not say how large its voxels are (ElementSpacing)")
    directions = _list(fields, DIRECTIONS, count * count)
    letters = fields.get("AnatomicalOrientation", "").upper().translate(OPPOSITE)
    if directions is None:
        letters = letters[:3] if stored.is_orientation(letters[:3]) else orientation or ""
        if not letters:
            raise InputError(stored.UNKNOWN_SIDES)
        return stored.along(letters, np.abs(spacing[:3]))
    # A row is the direction of an axis.
    turned = np.array(directions).reshape(count, count)[:3, :3].T
    affine = np.eye(4)
    affine[:3, :3] = turned * np.abs(spacing[:3])
    affine[:3, 3] = (_list(fields, PLACES, count) or [0.0, 0.0, 0.0])[:3]
    return stored.FROM_LPS @ affine


def _list(fields: Fields, names: tuple[str, ...], count: int) -> list[float] | None:
    for name in names:
        if name in fields:
            values = texts.numbers(fields[name], name)
            if len(values) != count:
                raise InputError(f"{name} of its header does not fit NDims: {texts.DAMAGED}")
            return values
    return None


def _one_name(name: str) -> str:
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError("its voxels are in a file for each slice: store one file")
    return name


def _stream(file: BinaryIO, fields: Fields, size: int) -> Stream:
    """The bytes from the first voxel on."""
    skip = texts.integers(fields.get("HeaderSize", "0"), "HeaderSize")[0]
    if not -1 <= skip <= MOST_SKIP:
        raise InputError(f"HeaderSize of its header is impossible: {texts.DAMAGED}")
    if _is_true(fields, "CompressedData"):
        if skip < 0:
            raise InputError(f"HeaderSize of its header is negative: {texts.DAMAGED}")
        file.seek(file.tell() + skip)
        return Gunzip(file, zlib_too=True)
    if skip < 0:
        # The voxels are the last bytes of the file.
        start = file.seek(0, 2) - size
        if start < 0:
            raise InputError("its voxels are fewer than its header says: the file is truncated")
        return Plain(file, start)
    return Plain(file, file.tell() + skip)
