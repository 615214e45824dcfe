"""Volumes of one case as the channels of one volume, on the grid of the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.errors import InputError
from medvae.ingest.channel_names import modality_of
from medvae.ingest.places import MASK_SHIFT, farthest
from medvae.ingest.records import Limits
from medvae.ingest.stored import times
from medvae.volume import Volume

# Least part of the first channel's grid that a resampled channel must show.
LEAST_COVERED = 0.5


@dataclass(frozen=True)
class Placed:
    """A volume, and the space that its header says its affine is in; empty where it says none.

    Two volumes of one space lie in it as their affines say.

    guessed: neither file nor user says of what modality it is.
    """

    volume: Volume
    space: str
    guessed: bool = False


def as_said(placed: Placed, channel: str, modality: str | None) -> Placed:
    """A channel that is of the modality that the user, or else its name, says.

    Raises:
        InputError: it is of another one.
    """
    own, by_name = placed.volume.modality, modality_of(channel)
    if modality not in (None, own):
        raise InputError(f"it is {own}, and --modality says {modality}")
    if modality is None and by_name not in (None, own):
        raise InputError(f"it is {own}, and the channel is called after {by_name}: rename it")
    return replace(placed, guessed=False) if by_name == own else placed


def stacked(
    channels: Sequence[str], images: Sequence[Placed], limits: Limits
) -> tuple[Volume, list[str]]:
    """One volume [C, X, Y, Z] of one a channel, and kinds of `notices` that it is of.

    A channel on another grid is interpolated linearly onto the grid of the first; where it does
    not reach, it is NaN, which is outside the image. The mask is that of the first channel that
    has one, brought there with it.

    Raises:
        InputError: several modalities of which one was guessed, another grid whose place no header
            states, too little in common, or more voxels in all than `limits` allow.
    """
    first = images[0].volume
    kinds = tuple(channel.volume.modality for channel in images)
    several = len(set(kinds)) > 1
    if several and any(channel.guessed for channel in images):
        raise InputError(
            f"its channels are of several modalities ({', '.join(sorted(set(kinds)))}), and a part "
            "of them was guessed: say with --modality what they are, one for all or one for each "
            "channel, such as ct,pet"
        )
    if len(images) * math.prod(first.shape) > limits.voxels:
        raise InputError(
            f"its {len(images)} channels of {times(first.shape)} voxels are more than the "
            f"{limits.voxels} allowed"
        )
    moved = [not _on_one_grid(channel.volume, first) for channel in images]
    for name, channel, other in zip(channels, images, moved, strict=True):
        if other and (not channel.space or channel.space != images[0].space):
            raise InputError(
                f"its channel {name} is on another grid than {channels[0]}, and their headers do "
                "not say that both are in the space of one scanner: resample it first"
            )
    parts = [
        _onto(channel.volume.voxels, channel.volume.affine, first, name)
        if other
        else channel.volume.voxels
        for name, channel, other in zip(channels, images, moved, strict=True)
    ]
    masks = [at for at, channel in enumerate(images) if channel.volume.mask is not None]
    volume = Volume(
        np.stack(parts),
        first.affine,
        first.modality,
        _mask(images[masks[0]].volume, first) if masks else None,
        _shared([channel.volume.meta for channel in images]),
        tuple(channels),
        kinds if several else (),
    )
    notices = (["regridded"] if any(moved) else []) + (["masked"] if len(masks) > 1 else [])
    return volume, notices


def _on_one_grid(volume: Volume, other: Volume) -> bool:
    return volume.shape == other.shape and farthest(
        volume.affine, other.affine, other.shape
    ) <= MASK_SHIFT * min(other.spacing)


def _onto(
    voxels: npt.NDArray[Any], affine: npt.NDArray[np.float64], grid: Volume, name: str
) -> npt.NDArray[np.float32]:
    """Voxels [X, Y, Z] on another grid, linearly; blurred first where that is coarser.

    Raises:
        InputError: less than `LEAST_COVERED` of the grid would be known.
    """
    from scipy import ndimage

    step = _step(affine, grid)
    inside = np.isfinite(voxels)
    values = np.where(inside, voxels, voxels[inside].min()).astype(np.float32)
    coarser = np.sqrt((step[:3, :3] ** 2).sum(axis=1))
    blur = [
        min(max(0.0, (s - 1) / 2), float(n)) for s, n in zip(coarser, voxels.shape, strict=True)
    ]
    values = ndimage.gaussian_filter(values, blur, mode="nearest")
    result = _pulled(np.pad(values, 1, mode="edge"), step, grid.shape, order=1, outside=np.nan)
    covered = float(np.isfinite(result).mean())
    if covered < LEAST_COVERED:
        raise InputError(
            f"its channel {name} shows only {covered:.0%} of the grid of the first: expected at "
            f"least {LEAST_COVERED:.0%}; scan both at one place, or leave the channel out"
        )
    return np.asarray(result, np.float32)


def _mask(holder: Volume, first: Volume) -> npt.NDArray[np.uint8]:
    mask = holder.mask
    assert mask is not None
    if _on_one_grid(holder, first):
        return mask
    step = _step(holder.affine, first)
    moved = _pulled(np.pad(mask, 1, mode="edge"), step, first.shape, order=0, outside=0)
    return np.asarray(moved, np.uint8)


def _step(affine: npt.NDArray[np.float64], grid: Volume) -> npt.NDArray[np.float64]:
    """[4, 4] index on a grid to index where `affine` holds."""
    return np.asarray(np.linalg.solve(affine, grid.affine), np.float64)


def _pulled(
    padded: npt.NDArray[Any],
    step: npt.NDArray[np.float64],
    shape: tuple[int, int, int],
    *,
    order: int,
    outside: float,
) -> npt.NDArray[Any]:
    """An array with one voxel of border on each side, at the indices that `step` [4, 4] gives."""
    from scipy import ndimage

    return np.asarray(
        ndimage.affine_transform(
            padded,
            step[:3, :3],
            offset=step[:3, 3] + 1,
            output_shape=shape,
            order=order,
            mode="constant",
            cval=outside,
        )
    )


def _shared(metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What holds of all channels: an echo time of one is not that of the volume."""
    first, *others = metas
    return {
        key: value for key, value in first.items() if all(meta.get(key) == value for meta in others)
    }
