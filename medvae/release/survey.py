"""What figures and report need of the volumes, gathered as they pass.

Memory does not depend on the number of volumes: a histogram, and the first few volumes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medvae.cine import is_cine
from medvae.volume import Volume

BINS = 64
_COLOURS = 3


@dataclass
class Survey:
    """Histogram of all volumes and copies of the first `keep`.

    Attributes:
        low, high: public range of the voxels, the histogram's ends.
        labels: numbers of the declared labels.
        counts: [BINS] voxels a bin, over all volumes.
        label_voxels: [256] voxels by number in the masks, over all masks.
        shown: the first volumes.
        exponent: of the modality; pictures are bent by it, as the model's scale is.
        channels: of volumes with channels of several modalities the survey of each, by name; the
            histogram of all is then that of the first.
    """

    low: float
    high: float
    labels: tuple[int, ...] = ()
    keep: int = 8
    count: int = 0
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    label_voxels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    shown: list[Volume] = field(default_factory=list)
    exponent: float = 1.0
    channels: dict[str, Survey] = field(default_factory=dict)

    def add(self, volume: Volume) -> None:
        self.count += 1
        for at, own in enumerate(self.channels.values()):
            own.add(volume.channel(at))
        voxels = volume.voxels[0] if self.channels else volume.voxels
        counts, _ = np.histogram(voxels, bins=BINS, range=(self.low, self.high))
        self.counts += counts
        if volume.mask is not None:
            here = np.bincount(volume.mask.ravel(), minlength=256)
            self.label_voxels = here + (self.label_voxels if self.label_voxels.size else 0)
        if len(self.shown) < self.keep:
            self.shown.append(volume)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """[BINS + 1] borders of the bins, in the volumes' unit."""
        return np.linspace(self.low, self.high, BINS + 1)


@dataclass(frozen=True)
class Look:
    """One of the pictures that the viewer offers.

    Attributes:
        name: as it offers it.
        volume: grey, or a picture in colour.
        low, high, exponent: see `Survey`.
    """

    name: str
    volume: Volume
    low: float
    high: float
    exponent: float


def looks(survey: Survey, most: int = 8) -> list[Look]:
    """The first volumes, whole ones; contrasts each by itself, for their mean shows nothing.

    most: pictures; the first volume is there however many channels it has.
    """
    found: list[Look] = []
    for number, volume in enumerate(survey.shown, 1):
        noun = "picture" if volume.shape[2] == 1 else "volume"
        name = f"{noun} {number:04d}"
        own = [(name, volume, survey)]
        if volume.channels and not _is_colour(volume) and not is_cine(volume.channels):
            scales = list(survey.channels.values()) or [survey] * len(volume.channels)
            own = [
                (f"{name}, {channel}", volume.channel(at), scales[at])
                for at, channel in enumerate(volume.channels)
            ]
        if found and len(found) + len(own) > most:
            break
        found += [Look(text, one, of.low, of.high, of.exponent) for text, one, of in own]
    return found


def grey_or_colour(
    volume: Volume, axis: int, index: int, low: float, high: float, exponent: float = 1.0
) -> npt.NDArray[np.uint8]:
    """A slice for the screen: [rows, columns], or [rows, columns, 3] of red, green and blue.

    Other channels are shown by their mean. low, high: what becomes black and white; between them
    the part of the way is raised to `exponent`.
    """
    channels = volume.voxels if _is_colour(volume) else volume.grey[None]
    rows = np.stack([slice_of(channel, axis, index) for channel in channels], axis=-1)
    part = np.clip((rows.astype(np.float32) - low) / (high - low), 0, 1)
    levels = np.rint((part if exponent == 1.0 else part**exponent) * 255).astype(np.uint8)
    return np.asarray(levels if levels.shape[-1] == _COLOURS else levels[..., 0])


def _is_colour(volume: Volume) -> bool:
    """Whether it is a picture in red, green and blue, and not three contrasts."""
    return len(volume.channels) == _COLOURS and volume.shape[2] == 1


def slice_of(array: npt.NDArray[np.generic], axis: int, index: int) -> npt.NDArray[np.generic]:
    """A slice as it is looked at: superior (or anterior) at the top.

    Columns run as the array's axis does: the patient's right (or front) is on the right of
    the picture, as neurologists look at it.
    """
    # A view: numpy's `take` copies all of an array whose last axis is not the fastest.
    return np.flipud(np.moveaxis(array, axis, 0)[index].T)
