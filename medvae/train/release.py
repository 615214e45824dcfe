"""The atlas's view of the plan: Gaussian releases by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.privacy import NoiseSource, Plan, gaussian_release

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlannedRelease:
    """Each call is one mechanism of the plan; asking twice for a name gives the same noise."""

    plan: Plan
    noise: NoiseSource

    def __call__(
        self, name: str, vectors: Iterable[Array], *, clip: float, dimension: int
    ) -> Array:
        """[dimension] the noised mean over the public N; see `gaussian_release`."""
        return gaussian_release(
            vectors,
            clip=clip,
            mechanism=self.plan.mechanism(name),
            divisor=float(self.plan.patients),
            noise=self.noise,
            dimension=dimension,
        )

    def sigma(self, name: str, clip: float) -> float:
        """Noise deviation of each coordinate of the result."""
        return self.plan.mechanism(name).noise_multiplier * clip / self.plan.patients
