"""Statistics of displacements: their mean and the correlation of the lowest ones.

Sensitivity. Mean: the weighted coefficients of a patient (mean over volumes) are clipped
to `clip`: the mean moves by at most clip / N. Correlation: a volume's z z^T, packed so
that its L2 norm is its Frobenius norm |z|^2, over the dimension; clipped to `clip`, that
is |z|^2 <= clip R, so it moves by at most clip / N as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas.basis import Array, Basis, pack, unpack
from medvae.atlas.displacement import RMS_VOXELS, prior_deviation
from medvae.atlas.statistics import shrink, weights


@dataclass(frozen=True)
class MotionCode:
    """Displacement coefficients [3, K] as a vector of norm about 1."""

    basis: Basis
    clip: float = 1.0

    @property
    def dimension(self) -> int:
        return 3 * len(self.basis)

    @property
    def _weights(self) -> Array:
        power = prior_deviation(self.basis) ** 2
        return np.asarray(weights(power) / (RMS_VOXELS * np.sqrt(3.0)))

    def encode(self, coefficients: Array) -> Array:
        return np.asarray((coefficients * self._weights).ravel())

    def decode(self, released: Array, noise: float) -> Array:
        """[3, K] shrunk for the noise deviation of the released vector."""
        raw = released.reshape(3, -1) / self._weights
        return shrink(raw, noise / self._weights, self.basis.frequency)


@dataclass(frozen=True)
class Covariance:
    """Correlation of the `functions` lowest coefficients of all three components."""

    functions: int = 4
    clip: float = 1.2

    @property
    def size(self) -> int:
        return 3 * self.functions

    @property
    def dimension(self) -> int:
        return self.size * (self.size + 1) // 2

    def encode(self, whitened: Array) -> Array:
        low = whitened[:, : self.functions].ravel()
        return pack(np.outer(low, low)) / self.size

    def decode(self, released: Array, noise: float) -> Array:
        """[R, R] Cholesky factor of the shrunk, positive definite estimate."""
        seen = unpack(released) * self.size - np.eye(self.size)
        dirt = (noise * self.size) ** 2
        power = float((pack(seen) ** 2).mean())
        trust = max(0.0, power - dirt) / max(power, 1e-12)
        values, vectors = np.linalg.eigh(np.eye(self.size) + trust * seen)
        kept = np.clip(values, 0.05, 6.0)
        return np.asarray(np.linalg.cholesky((vectors * kept) @ vectors.T))
