"""What the baselines see of a volume: cosine coefficients of its image and shape channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import fft

from medvae.atlas.basis import Array, Shape
from medvae.atlas.features import channels, label_map
from medvae.atlas.shrinkage import power_law
from medvae.atlas.spectrum import frequencies
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE
from medvae.grid import Gridded, normalise
from utility.cohorts import Cohort, Memory
from utility.layout import NEARER_RMS, SHAPE_CORNER, SHAPE_SLOPE, UNION_RMS


class Codes:
    """Channels [1 + L, X, Y, Z] of a cohort's volumes, and volumes of channels.

    Attributes:
        deviation: [1 + L, X, Y, Z] public deviation of each cosine coefficient of an individual,
            from the spectra of the atlas (public anatomy and ellipsoids).
    """

    def __init__(self, cohort: Cohort) -> None:
        self.data = cohort.data
        self.grid: Shape = cohort.data.size
        self.labels = cohort.data.labels
        self.patients = Memory(cohort.train)
        waves = frequencies(self.grid)
        image = power_law(waves, IMAGE_CORNER, IMAGE_SLOPE)
        shape = power_law(waves, SHAPE_CORNER, SHAPE_SLOPE)
        squares = [UNION_RMS**2] + [NEARER_RMS**2] * (self.labels - 1)
        powers = [image, *[square * shape for square in squares[: self.labels]]]
        self.deviation: Array = np.sqrt(np.stack(powers))

    def of(self, volume: Gridded) -> Array:
        """[1 + L, X, Y, Z] standardised image and shapes."""
        return channels(volume, self.labels)

    def each(self, function: Callable[[Array], Array]) -> list[Array]:
        """One vector a patient: the mean over his or her volumes of a function of channels."""
        return [
            np.mean([function(self.of(v)) for v in self.patients.volumes(i)], axis=0)
            for i in range(len(self.patients))
        ]

    def analyse(self, fields: Array) -> Array:
        """Coefficients [..., X, Y, Z], in the unit of `basis.Basis`: their norm is the rms."""
        scale = math.sqrt(math.prod(self.grid))
        return np.asarray(fft.dctn(fields, axes=(-3, -2, -1), norm="ortho") / scale)

    def synthesise(self, coefficients: Array) -> Array:
        """Invert `analyse`."""
        scale = math.sqrt(math.prod(self.grid))
        return np.asarray(fft.idctn(coefficients * scale, axes=(-3, -2, -1), norm="ortho"))

    def volume(self, fields: Array) -> Gridded:
        """Channels back to an image in [-1, 1] and labels.

        The image goes through what every MRI goes through on its way in: its own percentiles.
        """
        image, _ = normalise(fields[0], self.data)
        return Gridded(image, label_map(fields[1:]) if self.labels else None)
