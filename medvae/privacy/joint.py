"""Less noise for the same budget: one mechanism for statistics that need no earlier release.

Several statistics of one patient, released by one Gaussian mechanism each, pay for a patient who
reaches every clip at once. Nobody does: a patient with an unusual shape has ordinary grey values.
Put into one vector and clipped together, the same budget buys the same statistics with less noise
(privacy-loss of independent Gaussians adds up in squares; Dong, Roth, Su 2022, corollary 3.3).

Part i, of clip C_i and share s_i of the budget, enters the vector times
b_i = sqrt(s_i / S) / C_i, with S the sum of the shares. A patient at every clip would have norm 1,
and a joint clip of 1 would give each part the noise of a mechanism of its own. A joint clip of K
gives each part K times that noise.

It pays where most patients stay below their clips. Where one part's vectors are all beyond its
clip, the joint clip shrinks the other parts of every patient, too, and that bias is larger than
what is saved in noise (docs/benchmarks/recentring.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medvae.errors import UsageError

Array = npt.NDArray[np.float64]

# Joint clip, as a part of the norm of a patient who reaches every clip at once. Of four statistics
# of 118 hippocampi, 95% of patients were below .84.
JOINT_CLIP = 0.85


@dataclass(frozen=True)
class Part:
    """One statistic of a joint mechanism; all of it public.

    Attributes:
        name: unique in its `Joint`.
        clip: largest L2 norm of a patient's vector, in the vector's unit.
        share: part of the budget (in mu^2), in any unit that the other parts use too.
        dimension: length of the vector.
    """

    name: str
    clip: float
    share: float
    dimension: int

    def __post_init__(self) -> None:
        for what, value in (("clip", self.clip), ("share", self.share)):
            if not math.isfinite(value) or value <= 0:
                raise UsageError(f"{self.name}: {what} must be positive, not {value!r}")
        if type(self.dimension) is not int or self.dimension < 1:
            raise UsageError(f"{self.name}: dimension must be 1 or more, not {self.dimension!r}")


class Statistic(Protocol):
    """What a joint mechanism must know of one of its statistics (see `Part`)."""

    @property
    def name(self) -> str: ...

    @property
    def clip(self) -> float: ...

    @property
    def share(self) -> float: ...

    @property
    def dimension(self) -> int: ...


def joined(statistics: Sequence[Statistic]) -> Joint:
    """The joint vector of some statistics; of one alone with its own clip."""
    parts = [
        Part(statistic.name, statistic.clip, statistic.share, statistic.dimension)
        for statistic in statistics
    ]
    return Joint(parts, JOINT_CLIP if len(parts) > 1 else 1.0)


class Joint:
    """Several statistics as the one vector of one mechanism, and back.

    Usage: join each patient's vectors, release the joined vectors by one mechanism of share
    `share` with clip `clip` (`gaussian_release`, or `recentred_release`), split what it returned.

    Formal guarantee: none of its own; that of the mechanism, whose clip bounds the joint vector
    whatever the parts hold. `join` sees one patient alone, and `split` is post-processing.
    """

    def __init__(self, parts: Sequence[Part], clip: float = JOINT_CLIP) -> None:
        """Args: the parts in their order in the vector, and the joint clip in (0, 1].

        Raises:
            UsageError: no parts, two of one name, or a clip out of range.
        """
        names = [part.name for part in parts]
        if not names or len(set(names)) != len(names):
            raise UsageError(f"a joint mechanism needs parts of different names, not {names}")
        if not 0 < clip <= 1:
            raise UsageError(f"a joint clip must be in (0, 1], not {clip!r}")
        self.parts = tuple(parts)
        self.clip = float(clip)
        self.share = math.fsum(part.share for part in parts)
        self.dimension = sum(part.dimension for part in parts)
        self._scales = {part.name: self._scale(part) for part in parts}

    def join(self, vectors: Mapping[str, Array]) -> Array:
        """[dimension] of one patient's vectors: each clipped to its own clip, scaled, in order.

        The own clips keep one wild part from shrinking the others in the joint clip. A part that
        is not finite counts as zero.

        Args:
            vectors: float arrays [part.dimension] by name, one for each part.

        Raises:
            UsageError: a part is missing, unknown, or of another shape.
        """
        if set(vectors) != set(self._scales):
            raise UsageError(
                f"a joint vector needs the parts {sorted(self._scales)}, not {sorted(vectors)}"
            )
        joined = [
            self._scales[part.name] * _within(vectors[part.name], part) for part in self.parts
        ]
        return np.concatenate(joined)

    def split(self, released: Array) -> dict[str, Array]:
        """By name, float64 [part.dimension] of a released joint vector [dimension].

        Raises:
            UsageError: the vector has another shape.
        """
        if released.shape != (self.dimension,):
            raise UsageError(
                f"a joint vector must have shape ({self.dimension},), not {released.shape}"
            )
        ends = np.cumsum([part.dimension for part in self.parts])[:-1]
        pieces = zip(self.parts, np.split(released, ends), strict=True)
        return {part.name: np.asarray(piece / self._scales[part.name]) for part, piece in pieces}

    def sigma(self, name: str, sigma: float) -> float:
        """Noise deviation of each coordinate of one part after `split`.

        Args:
            name: of the part.
            sigma: noise deviation of each coordinate of the released joint vector: for one
                mechanism, noise_multiplier * clip / divisor.

        Raises:
            UsageError: no part of that name.
        """
        if name not in self._scales:
            raise UsageError(f"the joint mechanism has no part {name!r}: {sorted(self._scales)}")
        return sigma / self._scales[name]

    def _scale(self, part: Part) -> float:
        return math.sqrt(part.share / self.share) / part.clip


def _within(vector: Array, part: Part) -> Array:
    """The vector, no longer than the part's clip; zeros where it is not finite."""
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (part.dimension,):
        raise UsageError(f"{part.name} must have shape ({part.dimension},), not {values.shape}")
    # The largest element is taken out first: squares of 1e200 would overflow to infinity.
    largest = float(np.abs(values).max())
    if not math.isfinite(largest) or largest == 0.0:
        return np.zeros(part.dimension)
    norm = float(np.linalg.norm(values / largest))
    return values if norm * largest <= part.clip else values / largest * (part.clip / norm)
