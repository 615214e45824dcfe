"""A volume or a label map as the anatomy model sees it: on its own grid, in millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.geometry import Array
from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.grid import MOST_VOXELS, check_channels, middle_of, scaled, to_indices
from medvae.volume import Volume


@dataclass(frozen=True)
class Scan:
    """A patient's volume.

    Attributes:
        image: [X, Y, Z] float32 in [-1, 1], scaled as the modality says (`grid.normalise`); of a
            volume with channels the first one.
        affine: [4, 4] voxel index to scanner mm, axes closest to RAS+.
        mask: [X, Y, Z] uint8, the cohort's labels 1..L in the order of its scheme; None: no mask.
        middle: [3] the voxel index that drawn volumes are centred on; None: that of the image.
        category: the class 0, 1, ... that the volume was ingested with, or None.
        site: the number 0, 1, ... among the declared sites, or None.
        further: the other channels, as `image` and on its grid.
    """

    image: npt.NDArray[np.float32]
    affine: Array
    mask: npt.NDArray[np.uint8] | None = None
    middle: Array | None = None
    category: int | None = None
    site: int | None = None
    further: tuple[npt.NDArray[np.float32], ...] = ()

    @property
    def channels(self) -> tuple[Scan, ...]:
        """The same with each channel alone; itself where there is one."""
        if not self.further:
            return (self,)
        return tuple(replace(self, image=own, further=()) for own in (self.image, *self.further))

    @property
    def spacing(self) -> Array:
        """[3] voxel size in mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    @property
    def centre(self) -> Array:
        """[3] scanner mm of the middle of the field of view, or of what is cropped to."""
        middle = (np.asarray(self.image.shape) - 1) / 2.0 if self.middle is None else self.middle
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])


@dataclass(frozen=True)
class LabelMap:
    """Labels that pictures are drawn of.

    Attributes:
        labels: [X, Y, Z] uint8, the cohort's labels 1..L in the order of its scheme.
        affine: [4, 4] voxel index to scanner mm, axes closest to RAS+.
    """

    labels: npt.NDArray[np.uint8]
    affine: Array


def scan_of(volume: Volume, data: DataConfig, mask: npt.NDArray[np.uint8] | None = None) -> Scan:
    """A volume on the model's scale, on its own grid.

    mask: labels 1..L in place of the volume's own mask.

    Raises:
        InputError: no voxel is finite, its voxels have no size, it is too large, or its channels
            are others than the configuration's.
    """
    if not np.isfinite(volume.voxels).any():
        raise InputError("none of its voxels is a finite number")
    if not np.linalg.det(volume.affine[:3, :3]) or min(volume.spacing) <= 0:
        raise InputError("its voxels have no size")
    if volume.voxels.size > MOST_VOXELS:
        raise InputError(f"it has more than {MOST_VOXELS} voxels")
    check_channels(volume, data)
    image = scaled(volume.voxels, data)
    if mask is None and volume.mask is not None:
        mask = to_indices(volume.mask, data)
    middle = _middle(image, mask, volume.spacing, data)
    affine = np.asarray(volume.affine, np.float64)
    site = data.site_number(volume.site)
    first, *further = image if data.channels else [image]
    return Scan(first, affine, mask, middle, volume.category, site, tuple(further))


def _middle(
    image: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8] | None,
    spacing: tuple[float, float, float],
    data: DataConfig,
) -> Array | None:
    """[3] voxel index in the middle of what `data.crop` takes; None for the image's own.

    image: [X, Y, Z], or [C, X, Y, Z] of channels.
    """
    try:
        centre = middle_of(image, mask, data)
    except InputError:
        # Nothing to crop to: it shows nothing else that is measured either.
        return None
    if centre is None or data.spacing is None:
        return None
    have = np.asarray(image.shape[-3:], np.float64)
    window = np.asarray(data.size) * np.asarray(data.spacing) / np.asarray(spacing)
    # As near as the image reaches; where it does not fill the window, its own middle.
    low, high = np.minimum(window, have) / 2.0, have - np.minimum(window, have) / 2.0
    return np.asarray(np.clip(centre, low, high) - 0.5)
