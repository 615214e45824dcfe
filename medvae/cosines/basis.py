"""Cosine coefficients of an image and its channels, their bands, and a public law of their power.

The transform is the orthonormal DCT-II along each axis of space and across channels (Ahmed,
Natarajan and Rao 1974). Of red, green and blue the latter is brightness, red against blue, and
green against both: a public opponent basis. Each label is a plane of its own, 1 where it is and 0
elsewhere: its slowest coefficient is the part of the image that the label fills.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft

from medvae import modality as modalities
from medvae.config_data import DataConfig

Array = npt.NDArray[np.float64]
Size = tuple[int, int, int]

_SPACE: Final = (1, 2, 3)

# The public law: variance of a coefficient by its wave number r (half periods over the image) is
# POWER / (1 + r^2)^FALL, as of natural images and radiographs, whose power falls with about the
# second to third power of frequency (Field 1987). It only has to be right within some hundredfold.
POWER: Final = 0.03
FALL: Final = 1.4
# Channels differ from one another by less than each varies.
DIFFERENCE: Final = 0.1
# Standard deviation, in voxels, of the Gaussian that a drawn label's plane is smoothed by. What is
# finer in a label map is its borders, which independent waves do not make.
LABEL_BLUR: Final = 1.5


@dataclass(frozen=True)
class Basis:
    """The coefficients of one grid; public.

    Attributes:
        size: [X, Y, Z] of the grid; a picture's Z is 1.
        channels: how many values a voxel has.
        related: correlations between planes are measured: no public basis makes them independent.
        labels: how many labels are drawn; their planes follow those of the channels.
        absolute: several channels, each on a public scale (CT, PET), so that a grey value means
            the same in every patient.
    """

    size: Size
    channels: int = 1
    related: bool = False
    labels: int = 0
    absolute: bool = False

    @classmethod
    def of(cls, data: DataConfig) -> Basis:
        """The coefficients of a configuration's grid."""
        colours = modalities.get(data.modality).channels
        labels = max(data.labels, 0)
        related = data.channels != colours or labels > 0
        own = [modalities.get(kind.modality).scaling.absolute for kind in data.of_channels]
        absolute = len(own) > 1 and data.channels != colours and all(own)
        return cls(data.size, max(len(data.channels), 1), related, labels, absolute)

    @property
    def planes(self) -> int:
        """Number of planes: channels and labels."""
        return self.channels + self.labels

    def __len__(self) -> int:
        return self.planes * math.prod(self.size)

    def analyse(
        self, image: npt.NDArray[np.floating], mask: npt.NDArray[np.integer] | None = None
    ) -> Array:
        """[F] coefficients of [X, Y, Z] or [C, X, Y, Z], and of labels [X, Y, Z]; None: of none.

        Their sum of squares is the mean over voxels of the sum over planes of squares.
        """
        values = np.asarray(image, np.float64).reshape(self.channels, *self.size)
        spectrum = fft.dctn(values, norm="ortho") / math.sqrt(math.prod(self.size))
        if not self.labels:
            return np.asarray(spectrum.reshape(-1))
        drawn = np.zeros(self.size) if mask is None else mask
        indicators = np.stack([drawn == label for label in range(1, self.labels + 1)])
        own = fft.dctn(indicators.astype(np.float64), axes=_SPACE, norm="ortho")
        own /= math.sqrt(math.prod(self.size))
        return np.concatenate([spectrum.reshape(-1), own.reshape(-1)])

    def synthesise(self, coefficients: Array) -> Array:
        """[C, X, Y, Z], or [X, Y, Z] of one channel, of [F] coefficients."""
        values = self._by_plane(coefficients)[: self.channels]
        image = np.asarray(fft.idctn(values, norm="ortho"))
        return image if self.channels > 1 else image[0]

    def mask(self, coefficients: Array) -> npt.NDArray[np.uint8] | None:
        """[X, Y, Z] labels 1, 2, ... of [F] coefficients; None without labels.

        A label is where its plane is highest, in as many voxels as its slowest coefficient says.
        """
        if not self.labels:
            return None
        values = self._by_plane(coefficients)[self.channels :]
        planes = np.asarray(fft.idctn(values * self._blur, axes=_SPACE, norm="ortho"))
        above = np.full(planes.shape, -np.inf)
        for plane, height in zip(planes, above, strict=True):
            count = round(float(np.clip(plane.mean(), 0.0, 1.0)) * plane.size)
            if 0 < count < plane.size:
                ordered = np.partition(plane.reshape(-1), plane.size - count)
                height[...] = (plane - ordered[plane.size - count]) / (plane.std() or 1.0)
            elif count:
                height[...] = np.inf
        label = np.argmax(above, axis=0) + 1
        return np.where(above.max(axis=0) >= 0.0, label, 0).astype(np.uint8)

    @cached_property
    def _blur(self) -> Array:
        """[X, Y, Z] what a Gaussian leaves of each wave: exp(-(w sigma)^2 / 2), w = pi k / n."""
        waves = np.meshgrid(*(np.pi * np.arange(n) / n for n in self.size), indexing="ij")
        return np.asarray(np.exp(-0.5 * LABEL_BLUR**2 * sum(wave**2 for wave in waves)))

    def _by_plane(self, coefficients: Array) -> Array:
        return coefficients.reshape(self.planes, *self.size) * math.sqrt(math.prod(self.size))

    @cached_property
    def radius(self) -> Array:
        """[F] wave number of each coefficient: the norm of those along the axes of space."""
        waves = np.meshgrid(*(np.arange(n) for n in self.size), indexing="ij")
        radius = np.sqrt(sum(wave.astype(np.float64) ** 2 for wave in waves))
        return np.tile(np.asarray(radius).reshape(-1), self.planes)

    @cached_property
    def law(self) -> Array:
        """[F] variance of each coefficient by the public law."""
        plane = np.arange(len(self)) // math.prod(self.size)
        power = POWER / (1.0 + self.radius**2) ** FALL
        return np.asarray(power * np.where(plane == 0, 1.0, DIFFERENCE))

    @cached_property
    def band(self) -> npt.NDArray[np.int64]:
        """[F] band of each coefficient: its plane, and a half octave of wave numbers."""
        plane = np.arange(len(self)) // math.prod(self.size)
        return plane * self.octaves + np.tile(self.octave, self.planes)

    @cached_property
    def octave(self) -> npt.NDArray[np.int64]:
        """[W] half octave of each wave number, from 0 without a gap."""
        radius = self.radius[: math.prod(self.size)]
        octave = np.zeros(len(radius))
        moving = radius > 0
        octave[moving] = 1 + np.maximum(0, np.ceil(2 * np.log2(radius[moving]) - 1e-9))
        _, numbers = np.unique(octave, return_inverse=True)
        return np.asarray(numbers, np.int64).reshape(-1)

    @property
    def octaves(self) -> int:
        """How many half octaves there are."""
        return int(self.octave.max()) + 1

    @cached_property
    def widths(self) -> Array:
        """[B] how many coefficients each band has."""
        return np.bincount(self.band).astype(np.float64)

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return len(self.widths)

    def by_band(self, values: Array) -> Array:
        """[B] mean of [F] in each band."""
        return np.asarray(np.bincount(self.band, values, minlength=self.bands) / self.widths)

    def strongest(self, power: Array, count: int) -> npt.NDArray[np.int64]:
        """Places of the `count` coefficients of largest power [F], ascending.

        Within a band, lower frequencies come first.
        """
        order = np.lexsort((np.arange(len(self)), self.radius, -power))
        return np.sort(order[:count])
