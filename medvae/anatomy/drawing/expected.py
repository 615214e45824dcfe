"""What is known of the looks of a label map's scans before any patient is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing import shading, volumes
from medvae.anatomy.drawing.components import Components
from medvae.anatomy.drawing.looks import Looks
from medvae.anatomy.drawing.tissues import textbook
from medvae.anatomy.registration.geometry import Array

# People of one scanner and protocol differ by so much of what a textbook's figure may be wrong by.
WITHIN = 0.4
# Textbook deviations within a tissue, within one of several organs, and within air; and how much
# they differ between people.
DEVIATION, DIVIDED_DEVIATION, AIR_DEVIATION = 0.06, 0.15, 0.005
DEVIATION_STD, AIR_DEVIATION_STD = 0.05, 0.01
# Correlation between people of the grey values of tissues, and of their deviations.
ALIKE = 0.6


@dataclass(frozen=True)
class Expected:
    """Figures of a textbook.

    Attributes:
        mean: what they are.
        std: how much people and scanners differ from it.
        within: how much people of one scanner and protocol differ.
    """

    mean: Looks
    std: Looks
    within: Looks

    @classmethod
    def of(
        cls,
        components: Components,
        textures: npt.NDArray[np.intp],
        count: int,
        waves: int,
        window: tuple[float, float] | None,
    ) -> Expected:
        """Args:
        textures: [K] number of each tissue's texture, of so many (`count`).
        waves: of the shading.
        window: of a CT, in Hounsfield units; None: MRI.
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
        return cls(Looks(means, fine, fine, gain, sizes), std, within)

    def without_volumes(self) -> Expected:
        """For models from before volumes were measured."""
        return Expected(*(replace(part, volumes=np.zeros(0)) for part in self._parts()))

    def with_earlier_shading(self) -> Expected:
        """For models that were measured in units of the shading of that time."""
        gain = np.zeros_like(self.mean.shading)
        return Expected(
            self.mean,
            replace(self.std, shading=gain + shading.EARLIER_STD),
            replace(self.within, shading=gain + shading.EARLIER_WITHIN_STD),
        )

    @property
    def correlation(self) -> Array:
        """[F, F] A scan is brighter, or shows more texture, in all tissues at once."""
        mean = self.mean
        kinds = [len(mean.means), 2 * len(mean.fine), len(mean.shading) + len(mean.volumes)]
        kind = np.repeat(np.arange(3), kinds)
        matrix = np.where((kind[:, None] == kind) & (kind < 2), ALIKE, 0.0)
        np.fill_diagonal(matrix, 1.0)
        return np.asarray(matrix)

    def _parts(self) -> Sequence[Looks]:
        return self.mean, self.std, self.within
