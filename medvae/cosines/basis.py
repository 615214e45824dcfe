"""Cosine coefficients of an image and its channels, their bands, and a public law of their power.

The transform is the orthonormal DCT-II along each axis of space and across channels (Ahmed,
Natarajan and Rao 1974). Of red, green and blue the latter is brightness, red against blue, and
green against both: a public opponent basis.
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

# The public law: variance of a coefficient by its wave number r (half periods over the image) is
# POWER / (1 + r^2)^FALL, as of natural images and radiographs, whose power falls with about the
# second to third power of frequency (Field 1987). It only has to be right within some hundredfold.
POWER: Final = 0.03
FALL: Final = 1.4
# Channels differ from one another by less than each varies.
DIFFERENCE: Final = 0.1


@dataclass(frozen=True)
class Basis:
    """The coefficients of one grid; public.

    Attributes:
        size: [X, Y, Z] of the grid; a picture's Z is 1.
        channels: how many values a voxel has.
        related: correlations between channel planes are measured: no public basis makes the
            channels independent.
    """

    size: Size
    channels: int = 1
    related: bool = False

    @classmethod
    def of(cls, data: DataConfig) -> Basis:
        """The coefficients of a configuration's grid."""
        colours = modalities.get(data.modality).channels
        return cls(data.size, max(len(data.channels), 1), data.channels != colours)

    def __len__(self) -> int:
        return self.channels * math.prod(self.size)

    def analyse(self, image: npt.NDArray[np.floating]) -> Array:
        """[F] coefficients of [X, Y, Z] or [C, X, Y, Z].

        Their sum of squares is the mean over voxels of the sum over channels of squares.
        """
        values = np.asarray(image, np.float64).reshape(self.channels, *self.size)
        spectrum = fft.dctn(values, norm="ortho") / math.sqrt(math.prod(self.size))
        return np.asarray(spectrum.reshape(-1))

    def synthesise(self, coefficients: Array) -> Array:
        """[C, X, Y, Z], or [X, Y, Z] of one channel, of [F] coefficients."""
        values = coefficients.reshape(self.channels, *self.size) * math.sqrt(math.prod(self.size))
        image = np.asarray(fft.idctn(values, norm="ortho"))
        return image if self.channels > 1 else image[0]

    @cached_property
    def radius(self) -> Array:
        """[F] wave number of each coefficient: the norm of those along the axes of space."""
        waves = np.meshgrid(*(np.arange(n) for n in self.size), indexing="ij")
        radius = np.sqrt(sum(wave.astype(np.float64) ** 2 for wave in waves))
        return np.tile(np.asarray(radius).reshape(-1), self.channels)

    @cached_property
    def law(self) -> Array:
        """[F] variance of each coefficient by the public law."""
        plane = np.arange(len(self)) // math.prod(self.size)
        power = POWER / (1.0 + self.radius**2) ** FALL
        return np.asarray(power * np.where(plane == 0, 1.0, DIFFERENCE))

    @cached_property
    def band(self) -> npt.NDArray[np.int64]:
        """[F] band of each coefficient: its channel, and a half octave of wave numbers."""
        plane = np.arange(len(self)) // math.prod(self.size)
        return plane * self.octaves + np.tile(self.octave, self.channels)

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

        Of coefficients of one band the slower first.
        """
        order = np.lexsort((np.arange(len(self)), self.radius, -power))
        return np.sort(order[:count])
