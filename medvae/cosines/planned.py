"""Which statistics are released, in which order, and how many coefficients: public rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.cosines.basis import Basis
from medvae.cosines.gains import BandGains
from medvae.cosines.marginals import Marginals
from medvae.cosines.numbers import Numbers
from medvae.cosines.parts import (
    GAINS,
    MEANS,
    POWERS,
    SECONDS,
    BandPowers,
    ClassMeans,
    ClassSeconds,
    ClassShares,
    Part,
    mean_clip,
    second_clip,
)
from medvae.cosines.planes import PlaneCorrelations
from medvae.cosines.voxels import VoxelMoments

# Of the budget, in order of release: products are the most numbers by far.
SHARES: Final = {POWERS: 0.04, MEANS: 0.15, SECONDS: 0.76, GAINS: 0.05}
# Of the whole budget, before them.
MARGINALS: Final = "cosines-marginals"
MARGINALS_SHARE: Final = 0.05
# After them, in place of gains, of contrasts that are scaled by patient.
VOXELS: Final = "cosines-voxels"
# Means are released of coefficients as long as the noise of a class's mean is below this part of
# their scale; there is no more to say of an image in means than this many.
MEAN_NOISE: Final = 0.25
MOST_MEANS: Final = 400
# Products are released of as many coefficients as leave the largest eigenvalue of noise, over all
# classes, below this part of a variance.
SECOND_NOISE: Final = 1.0
FEWEST: Final = 3
MOST_SECONDS: Final = 160

Sigma = Callable[[str, float], float]


def mechanisms(basis: Basis) -> list[tuple[str, float]]:
    """(name, share of the budget) in order of release; the shares sum to 1.

    Contrasts have no gains: measured, these cost their channel planes more than they are worth.
    Those of relative scales have moments of their voxels in their place; CT and PET, whose grey
    values have shares, gained nothing by them.
    Grey values have shares in images of one channel without labels, and in channels on public
    scales; in colours and in contrasts that are scaled by patient they gained nothing.
    """
    shares = dict(SHARES)
    if basis.related:
        contrasts = basis.channels > 1 and not basis.absolute
        own = VOXELS if contrasts else SECONDS
        shares[own] = shares.get(own, 0.0) + shares.pop(GAINS)
    if not basis.absolute and (basis.related or basis.channels > 1):
        return list(shares.items())
    rest = [(name, part * (1.0 - MARGINALS_SHARE)) for name, part in shares.items()]
    return [(MARGINALS, MARGINALS_SHARE), *rest]


def parts_of(name: str, basis: Basis, state: Numbers, sigma: Sigma) -> list[Part]:
    """What mechanism `name` releases.

    state: what was released before.
    sigma: noise deviation of each coordinate of a mechanism's result, of its name and clip.
    """
    if name == MARGINALS:
        return [Marginals(basis)]
    if name == POWERS:
        classes = len(state.shares)
        powers = BandPowers(basis)
        return [powers] if classes == 1 else [powers, ClassShares(classes)]
    if name == MEANS:
        count = means_count(basis, len(state.shares), sigma)
        return [ClassMeans(basis, state, _kept(basis, state, count))]
    if name == GAINS:
        return [BandGains(basis, state)]
    if name == VOXELS:
        return [VoxelMoments(basis, state)]
    count = seconds_count(basis, len(state.shares), sigma)
    seconds = ClassSeconds(basis, state, _kept(basis, state, count))
    return [PlaneCorrelations(basis, state), seconds] if basis.related else [seconds]


def means_count(basis: Basis, classes: int, sigma: Sigma) -> int:
    """How many coefficients have their means released.

    Of public numbers alone: the grid, the declared classes, and `sigma`, which follows from the
    plan's noise multipliers and the number of patients. Which ones they are follows from powers
    that were released before.
    """
    count = _most(len(basis), lambda n: sigma(MEANS, mean_clip(n)) * classes <= MEAN_NOISE)
    return min(count, MOST_MEANS)


def seconds_count(basis: Basis, classes: int, sigma: Sigma) -> int:
    """How many have their products released, and so their covariance; as `means_count`."""

    def noise(count: int) -> float:
        # Largest eigenvalue of the noise, over all classes.
        return sigma(SECONDS, second_clip(count)) * float(np.sqrt(2.0 * count * classes))

    return min(_most(len(basis), lambda n: noise(n) <= SECOND_NOISE), MOST_SECONDS)


def _kept(basis: Basis, state: Numbers, count: int) -> npt.NDArray[np.int64]:
    return basis.strongest(state.scale(basis) ** 2, count)


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to `limit` that fits, of a condition that larger counts fail."""
    low, high = min(FEWEST, limit), limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
