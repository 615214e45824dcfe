"""NRRD (Nearly Raw Raster Data, http://teem.sourceforge.net/nrrd/format.html), also detached and
as 3D Slicer writes segmentations; runs in the confined worker only.

The reader uses only those key/value pairs by which 3D Slicer numbers segments. It skips content,
comments and all other pairs, so that they cannot reach a volume.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from medvae.errors import InputError
from medvae.ingest import encodings, stored, texts
from medvae.ingest.records import Limits
from medvae.ingest.stored import Affine, Image
from medvae.ingest.streams import CUT_SHORT, MOST_TRAILING, Gunzip, Plain, Stream

MARK = re.compile(r"NRRD000[1-6]")
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
SPACES = {
    "right-anterior-superior": "RAS",
    "left-anterior-superior": "LAS",
    "left-posterior-superior": "LPS",
}
# A field and its description, or a key and its value.
LINE = re.compile(r"(.*?)(:=|: |:$)(.*)")
MILLIMETRES = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "m": 1000.0, "cm": 10.0, "um": 1e-3}
TEXT, BZIP2 = ("text", "txt", "ascii"), ("bzip2", "bz2")
SPATIAL = ("domain", "space", "???", "none")
MOST_SKIP = 1 << 26
SEGMENT = re.compile(r"Segment(\d{1,4})_(LabelValue|Name)")
PART = "Segmentation_ReferenceImageExtentOffset"

Fields = dict[str, str]


def read(
    files: Iterator[BinaryIO], names: list[str], limits: Limits, orientation: str | None
) -> Image:
    """An image from its file, or from a header and the files beside it.

    Args:
        names: of the files; the first is the header.
        orientation: how the axes run where the header does not say it, such as LPS.

    Raises:
        InputError: not NRRD, damaged, too large, or not one scalar 3-D image.
    """
    file = next(files)
    fields, keys = _header(file)
    axes = _axes(fields)
    sizes = _per_axis(fields, "sizes")
    shape = stored.checked_shape([int(sizes[axis]) for axis in axes], limits)
    kind = _kind(fields)
    affine = _affine(fields, axes, orientation)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    data_file = fields.get("data file") or fields.get("datafile")
    if data_file:
        file = texts.voxel_file(_one_name(data_file), names[1:], files)
    voxels = stored.voxels(_stream(file, fields, kind, size), shape, kind)
    space = "scanner" if _is_placed(fields) else ""
    return Image(voxels, affine, is_part=PART in keys, names=_segments(keys), space=space)


def _header(file: BinaryIO) -> tuple[Fields, Fields]:
    """Fields and key/value pairs; the file is left at the first byte of the voxels."""
    header_lines = texts.lines(file)
    if not MARK.fullmatch(next(header_lines, "")):
        raise InputError("it is not an NRRD file: it does not begin as one")
    fields: Fields = {}
    keys: Fields = {}
    for line in header_lines:
        if not line:
            break
        if line.startswith("#"):
            continue
        found_line = LINE.fullmatch(line)
        key, mark, value = found_line.groups() if found_line else ("", "", "")
        name = key.strip().lower()
        if mark == ":=":
            keys[key] = value
        elif not mark or name in fields:
            raise InputError(f"a line of its header is no field, or stands twice: {texts.DAMAGED}")
        else:
            fields[name] = value.strip()
            if name in ("data file", "datafile") and value.strip().upper().startswith("LIST"):
                break
    for name in ("dimension", "type", "sizes", "encoding"):
        if name not in fields:
            raise InputError(f"its header lacks {name}: {texts.DAMAGED}")
    if "old min" in fields or "old max" in fields:
        raise InputError(
            "its intensities were quantised (old min, old max): store them as they are"
        )
    return fields, keys


def _axes(fields: Fields) -> list[int]:
    """The axes in space, which must be three; others have one sample.

    Raises:
        InputError: they are fewer or more, or there are several values a voxel.
    """
    sizes = _per_axis(fields, "sizes")
    kinds = fields.get("kinds", "").lower().split() or ["???"] * len(sizes)
    vectors = _vectors(fields)
    if len(kinds) != len(sizes):
        raise InputError(f"kinds of its header does not fit its dimension: {texts.DAMAGED}")
    axes = []
    for axis, (size, kind) in enumerate(zip(sizes, kinds, strict=True)):
        in_space = kind in SPATIAL if vectors is None else vectors[axis] is not None
        if in_space:
            axes.append(axis)
        elif size != 1 and kind == "list":
            raise InputError(
                f"it holds {size:g} volumes or layers of segments that overlap: store one a file"
            )
        elif size != 1:
            raise InputError(f"it has {size:g} values a voxel: expected one grey value a voxel")
    return axes[:3] + [axis for axis in axes[3:] if sizes[axis] != 1]


def _per_axis(fields: Fields, name: str) -> list[int]:
    values = texts.integers(fields[name], name)
    if texts.integers(fields["dimension"], "dimension") != [len(values)] or len(values) > 16:
        raise InputError(f"{name} of its header does not fit its dimension: {texts.DAMAGED}")
    return values


def _vectors(fields: Fields) -> list[list[float] | None] | None:
    """`space directions`: a vector an axis, or None for one that is not in space."""
    if "space directions" not in fields:
        return None
    text = fields["space directions"]
    words = re.findall(r"none|\([^()]*\)", text)
    if re.sub(r"none|\([^()]*\)|\s", "", text) or len(words) != len(_per_axis(fields, "sizes")):
        raise InputError(f"space directions of its header cannot be read: {texts.DAMAGED}")
    return [None if word == "none" else _vector(word, "space directions") for word in words]


def _vector(text: str, field: str) -> list[float]:
    text = text.strip()
    if not (text.startswith("(") and text.endswith(")")):
        raise InputError(f"{field} of its header is not a vector: {texts.DAMAGED}")
    values = texts.numbers(text[1:-1].replace(",", " "), field)
    if len(values) < 3:
        raise InputError(f"it is placed in {len(values)} dimensions: expected a 3-D volume")
    return values


def _kind(fields: Fields) -> np.dtype[Any]:
    text = fields["type"].lower()
    code = next((code for code, names in TYPES.items() if text in names), None)
    if code is None:
        raise InputError("its voxel type is not supported: store int16 or float32")
    # Numbers in text have no byte order.
    if code[1] == "1" or fields["encoding"].lower() in TEXT:
        return np.dtype(code)
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None:
        raise InputError("its header does not say its byte order (endian): expected little or big")
    return np.dtype(order + code)


def _affine(fields: Fields, axes: list[int], orientation: str | None) -> Affine:
    """Voxel index to mm (RAS+): space, space directions and space origin; else as declared."""
    vectors = _vectors(fields)
    space = fields.get("space", "").lower().removesuffix("-time")
    letters = SPACES.get(space, space.upper())
    if vectors is None or not stored.is_orientation(letters):
        if orientation is None:
            raise InputError(stored.UNKNOWN_SIDES)
        return stored.along(orientation, _spacing(fields, axes, vectors))
    frame = stored.along(letters, [1.0, 1.0, 1.0])[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = frame @ np.array([(vectors[axis] or [])[:3] for axis in axes]).T
    if "space origin" in fields:
        affine[:3, 3] = frame @ _vector(fields["space origin"], "space origin")[:3]
    affine[:3] *= _millimetres(re.findall(r'"([^"]*)"', fields.get("space units", "")))
    return affine


def _is_placed(fields: Fields) -> bool:
    """Whether the header places the image in the patient's space, origin included."""
    space = fields.get("space", "").lower().removesuffix("-time")
    sides = stored.is_orientation(SPACES.get(space, space.upper()))
    return sides and _vectors(fields) is not None and "space origin" in fields


def _spacing(
    fields: Fields, axes: list[int], vectors: list[list[float] | None] | None
) -> list[float]:
    if vectors is not None:
        return [float(np.linalg.norm((vectors[axis] or [])[:3])) for axis in axes]
    if "spacings" not in fields:
        raise InputError("its header does not say how large its voxels are (spacings)")
    steps = fields["spacings"].split()
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))
    if len(steps) != len(_per_axis(fields, "sizes")):
        raise InputError(f"spacings of its header does not fit its dimension: {texts.DAMAGED}")
    scale = _millimetres([units[axis] for axis in axes] if len(units) == len(steps) else [])
    return [
        abs(step) * scale for step in texts.numbers(" ".join(steps[a] for a in axes), "spacings")
    ]


def _millimetres(units: list[str]) -> float:
    unit_names = {unit.strip() for unit in units[:3]} or {""}
    scales = {MILLIMETRES.get(unit, 0.0) for unit in unit_names}
    if len(scales) != 1 or 0.0 in scales:
        raise InputError("its unit of length is not known: expected mm, cm, m or um for all axes")
    return scales.pop()


def _one_name(name: str) -> str:
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError("its voxels are in a file for each slice: store one file")
    return name


def _stream(file: BinaryIO, fields: Fields, kind: np.dtype[Any], size: int) -> Stream:
    """The bytes from the first voxel on."""
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz", "hex", *TEXT, *BZIP2):
        raise InputError(
            "its voxels are stored in an encoding unknown to NRRD: store them as raw or gzip"
        )
    rows = _skip(fields, "line skip", "lineskip")
    skip = _skip(fields, "byte skip", "byteskip")
    for _ in range(rows):
        file.readline(MOST_SKIP)
    if encoding != "raw":
        if skip < 0:
            raise InputError(f"byte skip of its header is negative: {texts.DAMAGED}")
        return _encoded(file, encoding, skip, kind, size)
    if skip < 0:
        # Counted from the end, as the format has it.
        last = file.seek(0, 2)
        start = last - size + (skip + 1)
        if start < 0 or -skip > MOST_TRAILING:
            raise InputError("its voxels are fewer than its header says: the file is truncated")
    else:
        start = file.tell() + skip
    return Plain(file, start)


def _encoded(file: BinaryIO, encoding: str, skip: int, kind: np.dtype[Any], size: int) -> Stream:
    """The voxels of an encoding that is not raw; of a packed one `skip` counts unpacked bytes."""
    if encoding in TEXT or encoding == "hex":
        if len(file.read(skip)) < skip:
            raise InputError(CUT_SHORT)
        if encoding == "hex":
            return encodings.from_hex(file, size)
        return encodings.from_text(file, kind, size // kind.itemsize)
    packed: Stream = encodings.Bunzip(file) if encoding in BZIP2 else Gunzip(file)
    packed.read(skip)
    return packed


def _skip(fields: Fields, *names: str) -> int:
    counts = [texts.integers(fields[name], name) for name in names if name in fields]
    skip = counts[0][0] if counts else 0
    if not -MOST_SKIP <= skip <= MOST_SKIP or (skip < 0 and "line" in names[0]):
        raise InputError(f"{names[0]} of its header is impossible: {texts.DAMAGED}")
    return skip


def _segments(keys: Fields) -> tuple[tuple[int, str], ...]:
    """Label number and name of each segment of 3D Slicer."""
    segments: dict[str, dict[str, str]] = {}
    for key, value in keys.items():
        if match := SEGMENT.fullmatch(key):
            segments.setdefault(match.group(1), {})[match.group(2)] = value
    named = [
        segment for segment in segments.values() if "LabelValue" in segment and "Name" in segment
    ]
    numbers = [texts.integers(segment["LabelValue"], "LabelValue")[0] for segment in named]
    if len(set(numbers)) < len(numbers) or not all(0 < number < 256 for number in numbers):
        raise InputError("its segments are not numbered from 1 to 255, each by its own number")
    return tuple(zip(numbers, (segment["Name"] for segment in named), strict=True))
