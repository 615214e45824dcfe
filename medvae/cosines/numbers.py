"""What has been released of a population of images, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medvae.cosines.basis import Array, Basis


@dataclass(frozen=True)
class Numbers:
    """Numbers of a population; the public law's before any release.

    Attributes:
        shares: [K] of the classes; one class where there are none.
        power: [B] mean square of a coefficient, by band, around zero.
        means: [K, F] mean coefficients of each class.
        kept: [D] places of the coefficients whose covariance was released.
        covariance: [K, D, D] of the kept coefficients of each class.
        planes: [O, C, C] correlation of the channel planes in each half octave; empty where it
            was not measured, and planes are independent.
        gains: [B, B] covariance of the log power of the bands, beyond chance; empty where it was
            not measured, and all images have the same power.
        marginals: [L], or [C, L] of several channels: share of pixels at or below each of
            `marginals.LEVELS`; empty where it was
            not measured, and coefficients are of the grey values themselves.
        borders: [1] rounds of sharpening (`borders.bordered`); empty: draws have no borders.
        voxels: [C, C + 1] linear map and shift of the channels of each voxel of a draw; empty where
            channels' moments were not measured.
    """

    shares: Array
    power: Array
    means: Array
    kept: npt.NDArray[np.int64]
    covariance: Array
    planes: Array = field(default_factory=lambda: np.zeros((0, 1, 1)))
    gains: Array = field(default_factory=lambda: np.zeros((0, 0)))
    marginals: Array = field(default_factory=lambda: np.zeros(0))
    borders: Array = field(default_factory=lambda: np.zeros(0))
    voxels: Array = field(default_factory=lambda: np.zeros((0, 1)))

    @classmethod
    def public(cls, basis: Basis, classes: int) -> Numbers:
        """What is known before any release."""
        count = max(classes, 1)
        return cls(
            np.full(count, 1.0 / count),
            basis.by_band(basis.law),
            np.zeros((count, len(basis))),
            np.zeros(0, np.int64),
            np.zeros((count, 0, 0)),
        )

    def scale(self, basis: Basis) -> Array:
        """[F] root mean square of each coefficient around zero: its band's, sloped by the law."""
        slope = basis.law / basis.by_band(basis.law)[basis.band]
        return np.asarray(np.sqrt(self.power[basis.band] * slope))

    def spread(self, basis: Basis) -> Array:
        """[F] standard deviation around the means of the classes.

        What the means hold of a band's power is taken off; at least a tenth stays.
        """
        mean_power = basis.by_band(self.shares @ self.means**2)
        fraction = np.maximum(1.0 - mean_power / self.power, LEAST_LEFT)
        return np.asarray(self.scale(basis) * np.sqrt(fraction[basis.band]))

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """By name, for a model file."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Numbers:
        """Read back `to_arrays`. KeyError where one is missing."""
        present = [name for name in _NAMES if name in arrays or name not in _LATER]
        fields = {name: np.asarray(arrays[name]) for name in present}
        places = fields.pop("kept").astype(np.int64)
        return cls(kept=places, **{k: v.astype(np.float64) for k, v in fields.items()})


LEAST_LEFT = 0.1
# Models of earlier versions lack these.
_LATER = ("planes", "gains", "marginals", "borders", "voxels")
_NAMES = ("shares", "power", "means", "kept", "covariance", *_LATER)
