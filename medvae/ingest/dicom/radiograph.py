"""A DICOM radiograph (CR, DX) into a picture as a viewer shows it (sandboxed worker only).

Stored numbers go through the rescale, then the window (PS3.3 C.11.2.1.2) or table of values of
interest that the header names first, and MONOCHROME1 is turned over: 0 is black, 255 white.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest import facts
from medvae.ingest.dicom.files import CONTENT, DEMOGRAPHICS, IDENTITY, read_dataset
from medvae.ingest.dicom.headers import file_key
from medvae.ingest.dicom.kinds import modality_of, why_not
from medvae.ingest.dicom.pixels import checked_pixels, padding
from medvae.ingest.dicom.values import floats, floats_in, text, whole
from medvae.ingest.records import Limits
from medvae.volume import Volume

TAGS: Final[list[str | int]] = [
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "ImagerPixelSpacing",
]
WHITE: Final = 255.0
# Of pixels, in millimetres; beyond it the header is damaged, and the size nominal.
SPACING: Final = (0.01, 10.0)

Pixels = npt.NDArray[np.float64]


def radiograph_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], memoryview]:
    """Job: one file -> {"ok": {"notes": [kind, ...]}} and the bytes of a volume [X, Y, 1].

    Raises:
        InputError: it is no radiograph, has several frames, cannot be decoded, or is all of one
            value.
    """
    extra = DEMOGRAPHICS if job["keep_demographics"] else []
    data = read_dataset(next(files), [*IDENTITY, *CONTENT, *TAGS, *extra], pixels=True)
    modality = modality_of(data)
    if why_not(data) or file_key(data, bytes.fromhex(job["salt"])) not in job["keys"]:
        raise InputError("its file changed while it was being read: try again")
    if modality is None or not modality.planar:
        raise InputError("it is no radiograph")
    shown, notes = _shown(data, limits)
    if shown.min() == shown.max():
        raise InputError("all its pixels are the same: there is nothing on it")
    # Rows run down, the second axis of a volume runs up.
    voxels = shown[::-1].swapaxes(0, 1)[..., None]
    meta = facts.demographics(text(data, "PatientAge"), text(data, "PatientSex"))
    meta = (meta if job["keep_demographics"] else {}) | job["meta"]
    affine = np.diag([*_spacing(data), 1.0, 1.0])
    volume = Volume(np.ascontiguousarray(voxels, np.float32), affine, modality.name, meta=meta)
    return {"ok": {"notes": notes}}, volume.to_bytes()


def _shown(data: Dataset, limits: Limits) -> tuple[Pixels, list[str]]:
    """[rows, columns] 0 to 255, and kinds of `notices`."""
    stored = checked_pixels(data, limits.voxels)
    slope, intercept = _first(data, "RescaleSlope"), _first(data, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if not (np.isfinite([slope, intercept]).all() and slope):
        raise InputError("its intensity scale is 0 or not a finite number")
    values = stored.astype(np.float64) * slope + intercept
    part, notes = _of_interest(data, values, slope, intercept)
    if text(data, "PhotometricInterpretation").upper() == "MONOCHROME1":
        part = 1.0 - part
    if (outside := padding(data)) is not None:
        part[(stored >= outside[0]) & (stored <= outside[1])] = 0.0
    return part * WHITE, notes


def _of_interest(
    data: Dataset, values: Pixels, slope: float, intercept: float
) -> tuple[Pixels, list[str]]:
    """Values scaled to 0 to 1 by the window of the header; by all stored bits if it has none."""
    centre, width = _first(data, "WindowCenter"), _first(data, "WindowWidth")
    if centre is not None and width is not None:
        return windowed(values, centre, width, text(data, "VOILUTFunction").upper()), []
    if table := data.get("VOILUTSequence"):
        return _through(table[0], values), []
    bits, signed = whole(data, "BitsStored") or 16, whole(data, "PixelRepresentation") == 1
    lowest = -(2.0 ** (bits - 1)) if signed else 0.0
    ends = np.sort(np.array([lowest, lowest + 2.0**bits - 1]) * slope + intercept)
    return np.clip((values - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0), ["windowless"]


def windowed(values: Pixels, centre: float, width: float, function: str) -> Pixels:
    """Parts 0 to 1 by a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Raises:
        InputError: the window is not wide enough, or of an unknown function.
    """
    if function == "SIGMOID" and width > 0:
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -60, 60))))
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    if function not in ("", "LINEAR") or width < 1:
        raise InputError(
            "its window is none: expected a WindowWidth of at least 1 and the function LINEAR, "
            "LINEAR_EXACT or SIGMOID"
        )
    if width == 1:
        return np.asarray((values > centre - 0.5).astype(np.float64))
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def _through(item: Dataset, values: Pixels) -> Pixels:
    """Parts 0 to 1 by a table of values of interest (PS3.3 C.11.2.1.1)."""
    broken = InputError("its table of values of interest (VOI LUT) is damaged: export it again")
    described, content = item.get("LUTDescriptor"), item.get("LUTData")
    if described is None or content is None or len(described) != 3:
        raise broken
    count, first, bits = (int(n) for n in described)
    count = count or 1 << 16
    table = np.asarray(
        np.frombuffer(content, "<u2") if isinstance(content, bytes) else content, np.float64
    )
    if len(table) != count or not 8 <= bits <= 16:
        raise broken
    index = np.clip(np.rint(values - first), 0, count - 1).astype(np.int64)
    return np.clip(table[index] / (2.0**bits - 1), 0.0, 1.0)


def _first(data: Dataset, name: str) -> float | None:
    """The first number of an element, as of several windows; None where there is none.

    Raises:
        InputError: what is there is no number.
    """
    stored = text(data, name).partition("\\")[0].strip()
    values = floats_in(stored.encode("latin-1", "replace"), 1)
    if stored and values is None:
        raise InputError(f"its {name} cannot be read: expected a number")
    return values[0] if values else None


def _spacing(data: Dataset) -> tuple[float, float]:
    """Between columns and between rows, millimetres; 1 where the header has none that can be."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        found = floats(data, name, 2)
        if found is not None and all(SPACING[0] <= step <= SPACING[1] for step in found):
            return float(found[1]), float(found[0])
    return 1.0, 1.0
