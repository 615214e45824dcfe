"""Gaussian mechanisms of a plan, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medvae.errors import MedvaeError
from medvae.privacy import NoiseSource, Plan, gaussian_release
from medvae.privacy.ranks import ALONE, Ranks, share
from medvae.privacy.recentre import centre_name, recentred_release, sigma_of
from medvae.privacy.turns import Turns

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlannedRelease:
    """Each call is one mechanism of the plan, each mechanism once.

    Its noise is a function of the run's key and its name, so that of two releases the difference
    would be that of two sums, without noise.

    Attributes:
        ranks: processes of which each calls with vectors of its own patients (`mine`) alone.
    """

    plan: Plan
    noise: NoiseSource
    ranks: Ranks = field(default=ALONE)
    _begun: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def mine(self) -> Sequence[int]:
        """The patients, by index, whose vectors this process gives."""
        return share(self.ranks, range(self.plan.patients))

    def turns(self) -> Turns:
        """The same, taken one at a time by whichever process is free; a new round each call."""
        return self.ranks.turns(self.plan.patients)

    def __call__(
        self, name: str, vectors: Iterable[Array], *, clip: float, dimension: int
    ) -> Array:
        """[dimension] the noisy mean over the public N; see `gaussian_release` and `recentre`.

        Raises:
            MedvaeError: the mechanism was begun before.
        """
        if name in self._begun:
            raise MedvaeError(f"mechanism {name} was released already, and its noise hides one sum")
        self._begun.add(name)
        mechanism, divisor = self.plan.mechanism(name), float(self.plan.patients)
        if self._recentred(name):
            return recentred_release(
                vectors,
                clip=clip,
                centre=self.plan.mechanism(centre_name(name)),
                rest=mechanism,
                divisor=divisor,
                noise=self.noise,
                dimension=dimension,
                ranks=self.ranks,
            )
        return gaussian_release(
            vectors,
            clip=clip,
            mechanism=mechanism,
            divisor=divisor,
            noise=self.noise,
            dimension=dimension,
            ranks=self.ranks,
        )

    def sigma(self, name: str, clip: float) -> float:
        """Standard deviation of the noise in each coordinate of the result."""
        return sigma_of(self.plan, name, clip)

    def _recentred(self, name: str) -> bool:
        return any(mechanism.name == centre_name(name) for mechanism in self.plan.mechanisms)
