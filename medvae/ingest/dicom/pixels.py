"""Decoded pixels of one DICOM file: how many, how large, of which bits and sign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from medvae.errors import InputError
from medvae.ingest.dicom import jpeg
from medvae.ingest.dicom.files import OVERLAYS
from medvae.ingest.dicom.values import text, whole, whole_at
from medvae.ingest.normalise import Voxels

MOST_FRAMES = 100_000
TOO_LARGE = "it has more voxels than are allowed in one volume"
# Compressions that the decoders read.
DECODED = {
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
}
WITH_AN_END = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes}
# Stored as they are.
NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian}


def count_of(data: Dataset) -> int:
    """How many frames a file holds. Raises InputError."""
    count = whole(data, "NumberOfFrames") or 1
    if not 1 <= count <= MOST_FRAMES:
        raise InputError("its size is impossible: the header is damaged")
    return count


def check_size(data: Dataset, count: int, most_voxels: int) -> None:
    """Refuse pixels that cannot be stored numbers of a scan, by the header alone.

    Args:
        count: of the frames that are read.
        most_voxels: allowed in all of them.

    Raises:
        InputError: size, bits or kind of numbers, or no pixels; says which.
    """
    rows, columns = whole(data, "Rows") or 0, whole(data, "Columns") or 0
    if rows < 1 or columns < 1:
        raise InputError("its size is impossible: the header is damaged")
    if rows * columns * count > most_voxels:
        raise InputError(TOO_LARGE)
    if whole(data, "BitsAllocated") not in (8, 16, 32):
        raise InputError("its pixels are not of 8, 16 or 32 bits")
    _check_bits(data)
    if "FloatPixelData" in data or "DoubleFloatPixelData" in data:
        raise InputError("its pixels are floating numbers, which CT, MRI and PET do not have")
    if "PixelData" not in data:
        raise InputError("it has no pixels")
    if "ModalityLUTSequence" in data:
        raise InputError("its intensities go through a table instead of a linear scale")


def _check_bits(data: Dataset) -> None:
    """Refuse numbers that do not fill the lowest bits, which decoders take for granted."""
    stored, high = whole(data, "BitsStored"), whole(data, "HighBit")
    if stored is not None and high is not None and high != stored - 1:
        raise InputError(
            f"its HighBit is {high} where {stored - 1} is expected, so its numbers are not in the "
            "lowest bits: convert it first"
        )
    for size, place in OVERLAYS:
        if (bits := whole_at(data, size)) is None or bits <= 1:
            continue
        if (at := whole_at(data, place)) is not None and at < (stored or 16):
            raise InputError(
                "an overlay is drawn into the bits of its pixels: export it without overlays"
            )


def check_sign(data: Dataset, pixels: Voxels) -> None:
    """Refuse numbers of unknown sign, where it makes a difference."""
    if whole(data, "PixelRepresentation") in (0, 1) or pixels.dtype.kind != "u":
        return
    stored = whole(data, "BitsStored") or pixels.dtype.itemsize * 8
    if pixels.size and int(pixels.max()) >= 1 << (stored - 1):
        raise InputError(
            "its header lacks PixelRepresentation, so it is unknown whether its numbers are "
            "signed: export it again"
        )


def checked_pixels(data: Dataset, most_voxels: int) -> Voxels:
    """[rows, columns] of an image of one frame, as stored. Raises InputError."""
    if count_of(data) != 1:
        raise InputError("it has several frames: give one radiograph a file")
    check_size(data, 1, most_voxels)
    pixels = decoded(data, 1)
    check_sign(data, pixels)
    return np.asarray(pixels[0])


def decoded(data: Dataset, count: int, only: Sequence[int] | None = None) -> Voxels:
    """[N, rows, columns] of the stored values, unused bits cleared.

    Args:
        count: of frames in the file.
        only: those to decode; without it all.
    """
    syntax = _transfer_syntax(data)
    if (plain := _plain(data, syntax, count, only)) is not None:
        return plain
    try:
        if syntax in WITH_AN_END:
            jpeg.check_ends(data, count)
        if syntax == JPEGExtended12Bit:
            jpeg.mended(data, count)
        # One known decoder a kind, so that the same file gives the same voxels everywhere.
        plugin = "pydicom" if syntax == RLELossless else "pylibjpeg"
        if only is None:
            data.pixel_array_options(decoding_plugin=plugin)
            pixels = np.asarray(data.pixel_array)
        else:
            pixels = np.stack(list(iter_pixels(data, indices=only, decoding_plugin=plugin)))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever their C libraries do
        raise InputError(_why_not_decoded(data, syntax)) from error
    expected = (count if only is None else len(only), int(data.Rows), int(data.Columns))
    if pixels.size != expected[0] * expected[1] * expected[2] or pixels.dtype.kind not in "iu":
        raise InputError("its pixels do not have the size that its header claims")
    return pixels.reshape(expected)


def _plain(data: Dataset, syntax: UID, count: int, only: Sequence[int] | None) -> Voxels | None:
    """[N, rows, columns] of little-endian pixels that nothing compresses; None for others.

    As pydicom decodes them, without what it looks up for each file.
    """
    layout = layout_of(data, count) if syntax in NATIVE else None
    return None if layout is None else layout.pixels(data.PixelData, only)


@dataclass(frozen=True)
class Layout:
    """How pixels are stored that nothing compresses.

    Attributes:
        kind: the type of numpy of a stored number.
        shape: frames, rows and columns.
        unused: how many of its highest bits mean nothing.
        is_sign_said: whether the header says if numbers are signed.
    """

    kind: str
    shape: tuple[int, int, int]
    unused: int
    is_sign_said: bool

    def pixels(self, stored: object, only: Sequence[int] | None = None) -> Voxels | None:
        """[N, rows, columns] of the stored bytes; None where these are of another size."""
        size = math.prod(self.shape) * np.dtype(self.kind).itemsize
        if not isinstance(stored, bytes) or len(stored) not in (size, size + size % 2):
            return None
        values = np.frombuffer(memoryview(stored)[:size], self.kind).reshape(self.shape)
        values = values if only is None else values[list(only)]
        return (values << self.unused) >> self.unused if self.unused else values


def layout_of(data: Dataset, count: int) -> Layout | None:
    """The layout of `count` frames in little endian; None of an unusual one."""
    bits, stored = whole(data, "BitsAllocated"), whole(data, "BitsStored")
    said = whole(data, "PixelRepresentation")
    sign = {0: "u", 1: "i"}.get(said or 0)
    if bits not in (8, 16, 32) or stored is None or not 1 <= stored <= bits or sign is None:
        return None
    shape = (count, int(data.Rows), int(data.Columns))
    return Layout(f"<{sign}{bits // 8}", shape, bits - stored, said in (0, 1))


def _transfer_syntax(data: Dataset) -> UID:
    """How pixels are stored; where the file does not say it, as its elements are."""
    named = text(data.file_meta, "TransferSyntaxUID")
    if named:
        return UID(named)
    implicit, little = data.original_encoding
    # An item instead of pixels: compressed, and nothing says how.
    if bytes(data.PixelData[:4]) == b"\xfe\xff\x00\xe0":
        raise InputError("it is compressed without saying how (no TransferSyntaxUID): convert it")
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data.file_meta.TransferSyntaxUID


def _why_not_decoded(data: Dataset, syntax: UID) -> str:
    if not syntax.is_transfer_syntax or (syntax.is_compressed and syntax not in DECODED):
        name = syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
        return f"its pixels are stored as {name}, which is not supported: decompress it"
    return "its pixels cannot be decoded: damaged or truncated"


def padding(data: Dataset) -> tuple[int, int] | None:
    """Lowest and highest stored value that mean "outside the image"; None where none is named."""
    low = whole(data, "PixelPaddingValue")
    if low is None:
        return None
    high = whole(data, "PixelPaddingRangeLimit")
    ends = sorted(_signed(data, v) for v in (low, low if high is None else high))
    return ends[0], ends[1]


def _signed(data: Dataset, value: int) -> int:
    """Writers disagree on the sign of the padding value: read it as the pixels are."""
    bits = whole(data, "BitsAllocated") or 16
    if whole(data, "PixelRepresentation") == 1:
        return value - (1 << bits) if value >= 1 << (bits - 1) else value
    return value + (1 << bits) if value < 0 else value
