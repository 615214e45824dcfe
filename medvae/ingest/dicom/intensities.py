"""Stored numbers of slices to intensities: one scale for all, padding as the modality has it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError
from medvae.ingest.dicom.frames import Frame
from medvae.ingest.normalise import Voxels, rescaled
from medvae.modality.base import Modality


def check_scales(frames: list[Frame]) -> None:
    """Refuse slices of several scales, some of which the header does not give."""
    unscaled = sum(not frame.is_scaled for frame in frames)
    scales = {(frame.slope, frame.intercept) for frame in frames}
    if len(scales) > 1 and 0 < unscaled < len(frames):
        raise InputError(
            f"{unscaled} of its {len(frames)} slices lack the RescaleSlope that the others have, "
            "so that their intensities cannot be compared: export it again with its rescale values"
        )


def voxels_of(frames: list[Frame], modality: Modality) -> tuple[Voxels, bool]:
    """[column, row, slice], rescaled, with what is outside the image as the modality has it.

    Empties `frames` as it goes, so that the slices are not held twice.

    Returns:
        The voxels, and whether some padding has an intensity of tissue.
    """
    first = frames[0]
    scales = {(frame.slope, frame.intercept) for frame in frames}
    kind = np.result_type(*{frame.pixels.dtype for frame in frames})
    shape = (*reversed(first.pixels.shape), len(frames))
    stored = np.empty(shape, kind if len(scales) == 1 else np.float64, order="F")
    outside: dict[int, npt.NDArray[np.bool_]] = {}
    for z in reversed(range(shape[2])):
        frame = frames.pop()
        pixels = frame.pixels.T
        if frame.padding is not None:
            low, high = frame.padding
            padded = (pixels >= low) & (pixels <= high)
            if padded.any():
                outside[z] = padded
        stored[:, :, z] = pixels if len(scales) == 1 else pixels * frame.slope + frame.intercept
    voxels = rescaled(stored, *(scales.pop() if len(scales) == 1 else (1.0, 0.0)), reuse=True)
    if outside and not _is_outside(voxels, outside, modality.dicom.empty):
        return voxels, True
    for z, where in outside.items():
        voxels[:, :, z][where] = modality.dicom.padding
    return voxels, False


def _is_outside(voxels: Voxels, padded: dict[int, npt.NDArray[np.bool_]], empty: float) -> bool:
    """Whether padding is at most `empty`, or beyond all other intensities.

    Some writers declare a padding value that the body has, too (0 in Hounsfield units).
    """
    values = np.concatenate([voxels[:, :, z][where] for z, where in padded.items()])
    if values.max() <= empty:
        return True
    others = []
    for z in range(voxels.shape[2]):
        rest = voxels[:, :, z][~padded[z]] if z in padded else voxels[:, :, z]
        if rest.size:
            others.append((rest.min(), rest.max()))
    if not others:
        return True
    low, high = min(part[0] for part in others), max(part[1] for part in others)
    return bool(values.max() < low or values.min() > high)
