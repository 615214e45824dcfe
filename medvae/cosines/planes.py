"""Correlation between the planes of an image, by octave: what makes contrasts and labels fit.

The public opponent basis removes most of it between red, green and blue. No public basis is known
for MRI contrasts: at every wave number, one channel's coefficients predict much of another's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.cosines.basis import Array, Basis
from medvae.cosines.numbers import Numbers
from medvae.cosines.shrinkage import FLATTEST

# Clip, as a part of the norm of a vector of correlations that are all 1.
PLANE_REACH: Final = 0.7
# How far a correlation is from none, in a population.
RELATED: Final = 0.3


@dataclass(frozen=True)
class PlaneCorrelations:
    """Mean correlation of each pair of channel planes in each octave, around the class means.

    A correlation: within -1 and 1 whatever the contrast of an image is.
    """

    basis: Basis
    state: Numbers
    name: str = "planes"
    share: float = 0.1

    @property
    def dimension(self) -> int:
        count = self.basis.planes
        return self.basis.octaves * count * (count - 1) // 2

    @property
    def clip(self) -> float:
        return PLANE_REACH * float(np.sqrt(self.dimension))

    def measure(self, coefficients: Array, category: int | None) -> Array:
        classes = len(self.state.shares)
        own = 0 if classes == 1 else category
        if own is None or own >= classes:
            return np.zeros(self.dimension)
        spread = self.state.spread(self.basis)
        planes = ((coefficients - self.state.means[own]) / spread).reshape(self.basis.planes, -1)
        octave, count = self.basis.octave, self.basis.octaves
        size = [np.bincount(octave, plane**2, count) for plane in planes]
        correlations = []
        for a, b in self._pairs:
            product = np.bincount(octave, planes[a] * planes[b], count)
            norm = np.sqrt(size[a] * size[b])
            correlations.append(np.divide(product, norm, out=np.zeros(count), where=norm > 0))
        return np.concatenate(correlations)

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        count, octaves = self.basis.planes, self.basis.octaves
        shrunk = released.reshape(-1, octaves) * RELATED**2 / (RELATED**2 + sigma**2)
        matrices = np.tile(np.eye(count), (octaves, 1, 1))
        for (a, b), values in zip(self._pairs, shrunk, strict=True):
            matrices[:, a, b] = matrices[:, b, a] = values
        return replace(state, planes=np.stack([_correlation(matrix) for matrix in matrices]))

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        rows, columns = np.triu_indices(self.basis.planes, 1)
        return list(zip(rows.tolist(), columns.tolist(), strict=True))


def between(basis: Basis, numbers: Numbers, places: npt.NDArray[np.int64]) -> Array:
    """[D, D] correlation of the coefficients at some places [D] as planes have it."""
    count = len(basis) // basis.planes
    wave, plane = places % count, places // count
    correlation = np.eye(len(places))
    if not len(numbers.planes):
        return correlation
    rows, columns = np.nonzero(wave[:, None] == wave[None])
    correlation[rows, columns] = numbers.planes[
        basis.octave[wave[rows]], plane[rows], plane[columns]
    ]
    return correlation


def mixing(basis: Basis, numbers: Numbers) -> Array:
    """[W, C, C] what makes independent numbers of the channel planes correlated, by wave."""
    roots = np.linalg.cholesky(numbers.planes)
    return np.asarray(roots[basis.octave])


def _correlation(matrix: Array) -> Array:
    """The matrix with every eigenvalue at least `FLATTEST` and a diagonal of 1."""
    values, vectors = np.linalg.eigh(matrix)
    clipped = (vectors * np.maximum(values, FLATTEST)) @ vectors.T
    size = np.sqrt(np.diag(clipped))
    return np.asarray(clipped / np.outer(size, size))
