"""Groups of a deformation's coefficients: each axis by itself, eight bands of frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.cosines import CosineBasis
from medvae.anatomy.registration.geometry import Array

BANDS: Final = 8


@dataclass(frozen=True)
class Bands:
    """Bands of a basis.

    Attributes:
        of: [K] int, the band of each coefficient; ascending with frequency.
        count: how many bands there are.
    """

    of: npt.NDArray[np.int64]
    count: int

    @classmethod
    def of_basis(cls, basis: CosineBasis) -> Bands:
        """Bands of equal width in frequency; those that hold nothing are left out."""
        part = basis.frequencies / basis.max_frequency
        raw = np.minimum((part * BANDS - 1e-9).astype(np.int64), BANDS - 1)
        present, of = np.unique(raw, return_inverse=True)
        return cls(np.asarray(of, np.int64).reshape(-1), len(present))

    def mean(self, values: Array) -> Array:
        """[..., count] mean of [..., K] in each band."""
        sizes = np.bincount(self.of, minlength=self.count)
        totals = [
            np.bincount(self.of, row, minlength=self.count)
            for row in values.reshape(-1, values.shape[-1])
        ]
        return (np.stack(totals) / sizes).reshape(*values.shape[:-1], self.count)

    def spread(self, values: Array) -> Array:
        """[..., K] of [..., count]: each coefficient has its band's value."""
        return np.asarray(values[..., self.of])
