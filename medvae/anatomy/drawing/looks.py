"""The figures of entries of label maps: what tissues look like, as one vector and by its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing.pairs import correlation
from medvae.anatomy.registration.geometry import Array


@dataclass(frozen=True)
class Looks:
    """Attributes:
    means: [K] grey value of each tissue.
    fine, coarse: [T] standard deviation within each texture.
    shading: [J] coefficients of the logarithm of the gain.
    volumes: [L] logarithm of the volume of each cohort label over that of the anatomy; empty in
        models from before it was measured.
    """

    means: Array
    fine: Array
    coarse: Array
    shading: Array
    volumes: Array

    @property
    def vector(self) -> Array:
        """[F]"""
        return np.concatenate(astuple(self))

    def like(self, vector: Array) -> Looks:
        """The parts of another vector of the same layout."""
        sizes = [len(part) for part in astuple(self)]
        return Looks(*np.split(vector, np.cumsum(sizes[:-1])))


@dataclass(frozen=True)
class Seen:
    """What one image of a patient shows.

    Attributes:
        looks: its figures.
        residual: [P] of each voxel that is looked at, from the mean of its tissue.
        weights: [P] how likely a voxel is of its tissue; 0 in air and where that is not sure.
    """

    looks: Looks
    residual: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    def together(self, other: Seen) -> float:
        """Correlation of what varies within tissues in two images; NaN where nothing does."""
        weights = np.minimum(self.weights, other.weights)
        return correlation(weights, self.residual, other.residual)


def names(
    tissues: Sequence[str], textures: Sequence[str], waves: Sequence[Sequence[int]], labels: int
) -> list[str]:
    """[F] names of the figures."""
    return [
        *(f"mean of {name}" for name in tissues),
        *(f"fine deviation within {name}" for name in textures),
        *(f"coarse deviation within {name}" for name in textures),
        *("shading {} {} {}".format(*wave) for wave in waves),
        *(f"volume of label {number}" for number in range(1, labels + 1)),
    ]
