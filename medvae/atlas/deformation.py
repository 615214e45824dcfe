"""Codes of displacements: their mean, and the correlation of the lowest coefficients.

Sensitivity. Mean: a patient's weighted coefficients (mean over volumes) are clipped to `clip`, so
one patient changes the noisy mean by at most clip / N. Correlation: a volume's vector is z z^T
over the dimension R, packed so that its L2 norm is |z|^2 / R. It is clipped to `clip`, that is
|z|^2 <= clip R, so the change is again at most clip / N.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas.basis import Array, Basis, pack, unpack
from medvae.atlas.displacement import RMS_VOXELS, prior_std
from medvae.atlas.shrinkage import shrink, weights


@dataclass(frozen=True)
class DeformationCode:
    """Code of displacement coefficients [3, K], in voxels, as a vector of norm about 1."""

    basis: Basis
    clip: float = 1.0

    @property
    def dimension(self) -> int:
        return 3 * len(self.basis)

    @property
    def _weights(self) -> Array:
        power = prior_std(self.basis) ** 2
        return np.asarray(weights(power) / (RMS_VOXELS * np.sqrt(3.0)))

    def encode(self, coefficients: Array) -> Array:
        """[3 K] weighted coefficients."""
        return np.asarray((coefficients * self._weights).ravel())

    def decode(self, noisy: Array, noise_std: float) -> Array:
        """[3, K] coefficients of a noisy vector, shrunk for its noise std."""
        raw = noisy.reshape(3, -1) / self._weights
        return shrink(raw, noise_std / self._weights, self.basis.frequency)


@dataclass(frozen=True)
class CorrelationCode:
    """Code of the correlation of the `functions` lowest coefficients of all three components."""

    functions: int = 4
    clip: float = 1.2

    @property
    def size(self) -> int:
        """R, the number of correlated coefficients."""
        return 3 * self.functions

    @property
    def dimension(self) -> int:
        return self.size * (self.size + 1) // 2

    def encode(self, whitened: Array) -> Array:
        """[R (R + 1) / 2] packed outer product of the lowest of whitened coefficients [3, K]."""
        low = whitened[:, : self.functions].ravel()
        return pack(np.outer(low, low)) / self.size

    def decode(self, noisy: Array, noise_std: float) -> Array:
        """[R, R] Cholesky factor of the shrunk, positive definite estimate."""
        excess = unpack(noisy) * self.size - np.eye(self.size)
        noise_var = (noise_std * self.size) ** 2
        power = float((pack(excess) ** 2).mean())
        shrinkage = max(0.0, power - noise_var) / max(power, 1e-12)
        values, vectors = np.linalg.eigh(np.eye(self.size) + shrinkage * excess)
        clipped = np.clip(values, 0.05, 6.0)
        return np.asarray(np.linalg.cholesky((vectors * clipped) @ vectors.T))
