"""What is known of the looks of a label map's scans before any patient is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing import shading, volumes
from medvae.anatomy.drawing.components import Components
from medvae.anatomy.drawing.contrasts import Greys, greys
from medvae.anatomy.drawing.looks import Looks
from medvae.anatomy.drawing.sequences import Contrast
from medvae.anatomy.drawing.tissues import textbook
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.related import Related

# People of one scanner and protocol differ by so much of what a textbook's figure may be wrong by.
WITHIN = 0.4
# Textbook deviations within a tissue, within one of several organs, and within air; and how much
# they differ between people.
DEVIATION, DIVIDED_DEVIATION, AIR_DEVIATION = 0.06, 0.15, 0.005
DEVIATION_STD, AIR_DEVIATION_STD = 0.05, 0.01
# Correlation between people of the grey values of tissues, and of their deviations.
ALIKE = 0.6
# The same of grey values of one scanner and contrast: what differs is the scale of the image.
SCANNER = 0.9
# The kinds of figures from which on they are not alike (see `Expected._kinds`).
_SHADING: Final = 2


@dataclass(frozen=True)
class Expected:
    """Figures of a textbook.

    Attributes:
        mean: what they are.
        std: how much people and scanners differ from it.
        within: how much people of one scanner and protocol differ.
        greys: of tissues, in all that a contrast stands for; None: no contrast is known.
    """

    mean: Looks
    std: Looks
    within: Looks
    greys: Greys | None = None

    @classmethod
    def of(
        cls,
        components: Components,
        textures: npt.NDArray[np.intp],
        count: int,
        waves: int,
        window: tuple[float, float] | None,
        contrast: Contrast | None,
    ) -> Expected:
        """Args:
        textures: [K] number of each tissue's texture, of so many (`count`).
        waves: of the shading.
        window: of a CT, in Hounsfield units; None: MRI.
        contrast: of an MRI; None: as before contrasts were known.
        """
        means, stds = textbook(components.names, window)
        fine = np.full(count, DEVIATION)
        fine[textures[components.divided]] = DIVIDED_DEVIATION
        fine[textures[0]] = AIR_DEVIATION
        spread = np.full(len(fine), DEVIATION_STD)
        spread[textures[0]] = AIR_DEVIATION_STD
        gain, sizes = np.zeros(waves), np.zeros(components.labels)
        std = Looks(stds, spread, spread, gain + shading.STD, sizes + volumes.STD)
        within = replace(std.like(WITHIN * std.vector), shading=gain + shading.WITHIN_STD)
        plain = cls(Looks(means, fine, fine, gain, sizes), std, within)
        if window is not None or contrast is None:
            return plain
        found = greys(components.names, contrast)
        return replace(
            plain,
            mean=replace(plain.mean, means=found.mean),
            greys=found,
        )

    def without_volumes(self) -> Expected:
        """For models from before volumes were measured."""
        mean, std, within = (
            replace(part, volumes=np.zeros(0)) for part in (self.mean, self.std, self.within)
        )
        return replace(self, mean=mean, std=std, within=within)

    def with_earlier_shading(self) -> Expected:
        """For models that were measured in units of the shading of that time."""
        gain = np.zeros_like(self.mean.shading)
        return replace(
            self,
            std=replace(self.std, shading=gain + shading.EARLIER_STD),
            within=replace(self.within, shading=gain + shading.EARLIER_WITHIN_STD),
        )

    def with_greys_of(self, other: Expected) -> Expected:
        """The same with another's grey values."""
        return replace(self, mean=replace(self.mean, means=other.mean.means), greys=other.greys)

    @property
    def correlation(self) -> Array:
        """[F, F] A scan is brighter, or shows more texture, in all tissues at once."""
        kind = self._kinds()
        matrix = np.where((kind[:, None] == kind) & (kind < _SHADING), ALIKE, 0.0)
        np.fill_diagonal(matrix, 1.0)
        if self.greys is not None:
            count = len(self.greys.mean)
            matrix[:count, :count] = self.greys.correlation
        return np.asarray(matrix)

    def correlation_of(self, std: Array, error: Array, noise: Array) -> Array:
        """[F, F] of figures of deviation [F] `std`, of which [F] `error` is that of the mean.

        People of one cohort are brighter or darker in all tissues at once; what is not known of
        the cohort is as tissues go together in a contrast.

        noise: [F] see `Numbers.figures_noise`.
        """
        assert self.greys is not None
        assert self.related is not None
        alike = replace(self, greys=None).correlation
        count = len(self.greys.mean)
        own = np.where(np.eye(count) > 0.0, 1.0, SCANNER)
        alike[:count, :count] = own
        unknown = self.related.unknown(noise)
        scale = np.sqrt(np.maximum(np.diag(unknown), 1e-12))
        within = np.sqrt(np.maximum(std**2 - error**2, 0.0))
        covariance = alike * np.outer(within, within)
        covariance += unknown * np.outer(error / scale, error / scale)
        total = np.sqrt(np.maximum(np.diag(covariance), 1e-24))
        return np.asarray(covariance / np.outer(total, total))

    @property
    def related(self) -> Related | None:
        """How figures of cohorts go together; None where the contrast is not known."""
        if self.greys is None:
            return None
        # Units are those of a known contrast of one scanner, so a cohort may be farther away.
        units = self.std.vector
        stds = replace(self.std, means=self.greys.std).vector / units
        return Related(self.correlation * np.outer(stds, stds), self._kinds())

    def _kinds(self) -> npt.NDArray[np.intp]:
        """[F] grey values, textures, shading, volumes."""
        mean = self.mean
        counts = [len(mean.means), 2 * len(mean.fine), len(mean.shading), len(mean.volumes)]
        return np.repeat(np.arange(len(counts)), counts)
