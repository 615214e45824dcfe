"""The integers on which patients' vectors are added up, and on which the noise is drawn.

Noise and sum share one grid, a power of two that depends on the noise's standard deviation
alone. Each patient's vector is clipped and rounded towards zero onto that grid, so its norm
cannot grow; sums are sums of integers, exact in any order; the noise is an integer; one
multiplication by the grid at the end is exact. An output therefore reveals nothing by its low-order
digits: every integer can be reached from every data set (Mironov 2012; Haney et al. 2022,
"Precision-based attacks and interval refining"; Casacuberta et al. 2022 on sums).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from medvae.errors import UsageError

# The noise's standard deviation is 2^30 to 2^31 steps of the grid.
GRID_BITS = 30

# A vector is scaled to a little less than its clip, by more than float64 can err in the norm of
# 2^26 coordinates: no norm on the grid is above the clip.
MARGIN = 2.0**-26

# Sums stay below this, so that adding noise (at most 15 standard deviations) cannot overflow.
_LARGEST_SUM = 2.0**62


@dataclass(frozen=True)
class Lattice:
    """The grid of one mechanism.

    Attributes:
        grid: the step, a power of two, in the vectors' unit.
        sigma: standard deviation of the noise in steps, in [2^30, 2^31).
        reach: largest norm of a patient's vector in steps: clip / grid.
    """

    grid: float
    sigma: float
    reach: float

    @classmethod
    def of(cls, noise_multiplier: float, clip: float) -> Lattice:
        """Args: noise standard deviation / clip, and the clip norm; positive and finite.

        Raises:
            UsageError: the noise's standard deviation is no normal float64.
        """
        std = noise_multiplier * clip
        if not 1e-280 < std < 1e280:
            raise UsageError(
                f"noise of standard deviation {std!r} is out of range: change the clip"
            )
        mantissa, exponent = math.frexp(std)
        grid = 2.0 ** (exponent - 1 - GRID_BITS)
        return cls(grid, mantissa * 2.0 ** (GRID_BITS + 1), clip / grid)

    def check_patients(self, patients: int) -> None:
        """UsageError if the sum over so many patients could leave the range of int64."""
        if patients * self.reach > _LARGEST_SUM:
            raise UsageError(
                f"the sum over {patients} patients does not fit 64-bit integers at this noise:"
                " lower epsilon"
            )
