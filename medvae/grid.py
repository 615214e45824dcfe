"""From a patient's volume to the model's grid and back.

The grid (size, spacing, window) is a public constant of the configuration. Intensities
are scaled per volume as its modality says, so nothing is learnt from the cohort here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae import modality as modalities
from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.volume import Volume

Array = npt.NDArray[np.float32]

# A volume that needs more memory than this on its way to the grid is not brought there.
MOST_VOXELS = 2**29


@dataclass(frozen=True)
class Gridded:
    """A volume on the model's grid.

    Attributes:
        image: [X, Y, Z] float32 in [-1, 1], or [C, X, Y, Z] where the grid has channels.
        mask: [X, Y, Z] uint8, the model's labels 1..K in place of the scheme's numbers; or None.
        category: the class 0, 1, ... that the volume was ingested with, or None.
    """

    image: Array
    mask: npt.NDArray[np.uint8] | None
    category: int | None = None


def normalise(voxels: npt.NDArray[Any], data: DataConfig) -> tuple[Array, tuple[float, float]]:
    """Scale to [-1, 1]; returns the scaled voxels and the (low, high) that map to -1 and 1.

    Between them the scale is linear, or bent by the modality's `exponent`.

    Non-finite voxels are outside the image by definition and become `low`.
    """
    modality = modalities.get(data.modality)
    low, high = modality.scaling.limits(voxels, data.window, data.percentiles)
    image = np.empty(voxels.shape, dtype=np.float32)
    # A slab at a time: the float64 of a large scan would be four times the scan.
    for slab, source in zip(image, voxels, strict=True):
        values = source.astype(np.float64)
        part = (np.where(np.isfinite(values), values, low) - low) / (high - low)
        if modality.exponent != 1.0:
            part = np.clip(part, 0.0, 1.0) ** modality.exponent
        slab[...] = np.clip(part * 2.0 - 1.0, -1.0, 1.0)
    return image, (low, high)


def denormalise(image: Array, limits: tuple[float, float], exponent: float = 1.0) -> Array:
    """Invert `normalise` (but for what it clipped); `exponent` is the modality's."""
    low, high = limits
    part = (np.clip(image, -1.0, 1.0) + 1.0) / 2.0
    if exponent != 1.0:
        part = part ** (1.0 / exponent)
    return (part * (high - low) + low).astype(np.float32)


def public_limits(data: DataConfig) -> tuple[float, float]:
    """(low, high) of synthetic volumes, in their modality's units; of channels of the first."""
    return modalities.get(data.modality).scaling.public_limits(data.window)


def to_steps(voxels: npt.NDArray[Any], step: float) -> npt.NDArray[np.int16]:
    """Intensities as whole multiples of `step`, rounded."""
    levels: npt.NDArray[np.int16] = np.rint(voxels / np.float32(step)).astype(np.int16)
    return levels


# A tenth of the way from -1 to 1: what is brighter is body, not air.
BODY = -0.8


def to_grid(volume: Volume, data: DataConfig) -> Gridded:
    """Resample as `data.fit` says, scale, and crop or pad to the grid's size.

    Raises:
        InputError: no voxel is finite, the channels are others than the grid's, or the volume
            cannot be resampled: a voxel of no size, or more than `MOST_VOXELS` afterwards.
    """
    if not np.isfinite(volume.voxels).any():
        raise InputError("none of its voxels is a finite number")
    check_channels(volume, data)
    zoom = _zoom(volume, data)
    # Each channel by itself: the units of two contrasts have nothing in common.
    image = scaled(volume.voxels, data)
    mask = None if volume.mask is None else to_indices(volume.mask, data)
    if zoom is not None:
        image = each_channel(image, lambda channel: _resample(channel, zoom, order=1))
        mask = None if mask is None else _resample(mask, zoom, order=0)
    middle = middle_of(image, mask, data)
    image = each_channel(image, lambda channel: crop_or_pad(channel, data.size, "edge", middle))
    if mask is not None:
        mask = crop_or_pad(mask, data.size, "constant", middle)
    return Gridded(image, mask, volume.category)


def check_channels(volume: Volume, data: DataConfig) -> None:
    """Refuse a volume whose channels are others than the configuration's, with an InputError."""
    if volume.channels != data.channels:
        have, want = (", ".join(names) or "none" for names in (volume.channels, data.channels))
        raise InputError(f"its channels are {have}, and the grid's are {want}")
    if volume.modalities != data.modalities:
        have, want = (", ".join(of.modalities or (of.modality,)) for of in (volume, data))
        raise InputError(f"its channels are of {have}, and the grid's of {want}")


def middle_of(
    image: Array, mask: npt.NDArray[np.uint8] | None, data: DataConfig
) -> tuple[float, ...] | None:
    """What `data.crop` centres the grid on, in voxels from the first corner; None: the image's own.

    It depends on this one scan and on public constants, so a patient moves nobody else's.

    Raises:
        InputError: there is nothing to centre it on.
    """
    if data.crop == "centre":
        return None
    if data.crop == "labels":
        if mask is None or not mask.any():
            raise InputError(
                "it shows none of the labels that data.crop is to centre on: leave it out, or "
                "set data.crop to body or centre"
            )
        ends = [np.flatnonzero(mask.any(axis=_others(axis))) for axis in range(3)]
        return tuple((float(end[0]) + float(end[-1]) + 1) / 2 for end in ends)
    grey = image if image.ndim == 3 else image.mean(axis=0)
    body = grey > BODY
    if not body.any():
        return None
    shares = [body.sum(axis=_others(axis)) for axis in range(3)]
    return tuple(float(n @ (np.arange(n.size) + 0.5) / n.sum()) for n in shares)


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)


def each_channel(image: npt.NDArray[Any], change: Callable[[npt.NDArray[Any]], Array]) -> Array:
    """`change` of [X, Y, Z], or of each channel of [C, X, Y, Z]."""
    return change(image) if image.ndim == 3 else np.stack([change(channel) for channel in image])


def scaled(voxels: npt.NDArray[Any], data: DataConfig) -> Array:
    """`normalise` of [X, Y, Z], or of each channel of [C, X, Y, Z] as its own modality says."""
    if voxels.ndim == 3:
        return normalise(voxels, data)[0]
    pairs = zip(voxels, data.of_channels, strict=True)
    return np.stack([normalise(channel, own)[0] for channel, own in pairs])


def _zoom(volume: Volume, data: DataConfig) -> list[float] | None:
    """Voxels after resampling by voxels before, along each axis; None where nothing changes.

    A volume thinner than half a voxel of the grid keeps one voxel.
    """
    if data.fit == "crop":
        if data.spacing is None:
            return None
        if min(volume.spacing) <= 0:
            raise InputError("its voxels have no size")
        zoom = [have / want for have, want in zip(volume.spacing, data.spacing, strict=True)]
    else:
        zoom = _fitted(volume.shape, data)
    if math.prod(n * z for n, z in zip(volume.shape, zoom, strict=True)) > MOST_VOXELS:
        raise InputError(f"it has more than {MOST_VOXELS} voxels at the grid's spacing")
    if all(abs(z - 1.0) <= 1e-3 for z in zoom):
        return None
    return [z if round(n * z) >= 1 else 1 / n for n, z in zip(volume.shape, zoom, strict=True)]


def _fitted(shape: tuple[int, int, int], data: DataConfig) -> list[float]:
    """Zoom that brings the whole image onto the grid, evenly or each axis by itself."""
    zoom = [want / have for have, want in zip(shape, data.size, strict=True)]
    if data.fit == "stretch":
        return zoom
    # The one voxel of a picture's third axis has no size to keep.
    even = min(zoom[:2] if shape[2] == data.size[2] == 1 else zoom)
    return [even, even, 1.0 if shape[2] == data.size[2] == 1 else even]


def to_indices(mask: npt.NDArray[np.uint8], data: DataConfig) -> npt.NDArray[np.uint8]:
    """The scheme's numbers as 1..K, all other numbers as background.

    Where the configuration has not been resolved (labels -1, no scheme) nothing changes.
    """
    if data.labels < 0 and data.label_scheme is None:
        return mask
    table = np.zeros(256, np.uint8)
    numbers = list(data.label_numbers)
    table[numbers] = np.arange(1, len(numbers) + 1)
    return np.asarray(table[mask])


def to_numbers(mask: npt.NDArray[np.uint8], data: DataConfig) -> npt.NDArray[np.uint8]:
    """Invert `to_indices`: the model's labels 1..K as the numbers of the scheme."""
    if not data.label_scheme:
        return mask
    table = np.array([0, *data.label_numbers], np.uint8)
    return np.asarray(table[mask])


def _resample(voxels: npt.NDArray[Any], zoom: list[float], order: int) -> npt.NDArray[Any]:
    if order:
        # Blur before thinning out, or fine structure folds back as aliasing.
        # A blur over the whole axis leaves its mean; a wider one would only take longer.
        sigma = [
            min(max(0.0, (1 / z - 1) * 0.5), float(n))
            for z, n in zip(zoom, voxels.shape, strict=True)
        ]
        voxels = ndimage.gaussian_filter(voxels, sigma, mode="nearest")
    # grid_mode: voxels are little boxes, so the physical extent is kept, not the centres.
    resampled: npt.NDArray[Any] = ndimage.zoom(
        voxels, zoom, order=order, mode="nearest", grid_mode=True
    )
    return resampled


def crop_or_pad(
    voxels: npt.NDArray[Any],
    size: tuple[int, int, int],
    mode: str,
    middle: tuple[float, ...] | None = None,
) -> npt.NDArray[Any]:
    """Take the centre, or pad on both sides: mode "edge" repeats the border, "constant" is 0.

    middle: what to take instead of the centre, in voxels from the first corner; as near to it as
        the image reaches.
    """
    for axis, want in enumerate(size):
        have = voxels.shape[axis]
        if have > want:
            start = (have - want) // 2
            if middle is not None:
                start = min(max(round(middle[axis] - want / 2), 0), have - want)
            voxels = np.take(voxels, range(start, start + want), axis=axis)
        elif have < want:
            before = (want - have) // 2
            pads = [(0, 0)] * voxels.ndim
            pads[axis] = (before, want - have - before)
            voxels = np.pad(voxels, pads, mode=mode)  # type: ignore[call-overload]
    return np.ascontiguousarray(voxels)


def grid_affine(data: DataConfig) -> npt.NDArray[np.float64]:
    """The public geometry of synthetic volumes: RAS+, the grid's centre at the origin."""
    spacing = np.array(data.spacing or (1.0, 1.0, 1.0))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(data.size) - 1) / 2.0
    return affine


def from_grid(
    image: Array,
    data: DataConfig,
    mask: npt.NDArray[np.uint8] | None = None,
    category: int | None = None,
    site: str | None = None,
) -> Volume:
    """A synthetic volume in the cohort's public geometry and its modality's units.

    Intensities are multiples of the modality's `step` (int16 where it is 1, else float32) within
    `public_limits`. `mask` holds the model's labels 1..K; the volume's mask has the numbers of
    the label scheme.
    """
    return drawn_volume(image, grid_affine(data), data, mask, category, site)


def drawn_volume(
    image: Array,
    affine: npt.NDArray[np.float64],
    data: DataConfig,
    mask: npt.NDArray[np.uint8] | None = None,
    category: int | None = None,
    site: str | None = None,
) -> Volume:
    """`from_grid` on any grid: `affine` [4, 4] takes voxel indices to mm.

    image: [X, Y, Z], or [C, X, Y, Z] where the grid has channels.
    mask: left out where the cohort has no labels.
    """
    facts = {"class": category, "site": site}
    meta = {key: value for key, value in facts.items() if value is not None}
    parts = image if data.channels else image[None]
    values = [_in_units(part, own) for part, own in zip(parts, data.of_channels, strict=True)]
    voxels = np.stack(values) if data.channels else values[0]
    numbers = None if mask is None or not data.label_numbers else to_numbers(mask, data)
    return Volume(voxels, affine, data.modality, numbers, meta, data.channels, data.modalities)


def _in_units(image: Array, data: DataConfig) -> npt.NDArray[Any]:
    """[X, Y, Z] of one modality: int16 where its step is 1, else float32."""
    modality = modalities.get(data.modality)
    levels = to_steps(denormalise(image, public_limits(data), modality.exponent), modality.step)
    return levels if modality.step == 1.0 else levels * np.float32(modality.step)
