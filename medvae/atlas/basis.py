"""Isometric low-frequency cosine bases, and isometric packing of symmetric matrices.

A mechanism clips the L2 norm of a vector, so a coefficient vector must not be longer than the
field that it describes: its norm is at most the field's root mean square over voxels, on every
grid (DCT-II; Ahmed, Natarajan and Rao 1974).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Shape = tuple[int, int, int]


def cosines(length: int, count: int) -> Array:
    """[length, count] DCT-II functions, each with root mean square 1 over its samples."""
    position = (np.arange(length)[:, None] + 0.5) / length
    waves = np.sqrt(2.0) * np.cos(np.pi * position * np.arange(count)[None, :])
    waves[:, 0] = 1.0
    return np.asarray(waves, dtype=np.float64)


class Basis:
    """The `count` lowest-frequency products of cosines on a grid, lowest first.

    `analyse` averages over voxels, so ||analyse(x)|| <= rms(x), with equality for every x in the
    span of the basis.

    Attributes:
        index: [count, 3] int, wave number along each axis.
        frequency: [count] float64, radial, in cycles per voxel (at most sqrt(3)/2).
    """

    def __init__(self, shape: Shape, count: int) -> None:
        self.shape = shape
        waves = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
        waves = waves.reshape(-1, 3)
        radial = np.sqrt(((waves / (2.0 * np.array(shape))) ** 2).sum(axis=1))
        order = np.argsort(radial, kind="stable")[: min(count, len(radial))]
        self.index: npt.NDArray[np.int64] = waves[order]
        self.frequency: Array = radial[order]

    @classmethod
    def below(cls, shape: Shape, frequency: float) -> Basis:
        """All functions up to a radial frequency in cycles per voxel; at least the constant."""
        full = cls(shape, int(np.prod(shape)))
        return cls(shape, max(1, int((full.frequency <= frequency).sum())))

    def __len__(self) -> int:
        return len(self.frequency)

    @cached_property
    def _waves(self) -> tuple[Array, Array, Array]:
        counts = self.index.max(axis=0) + 1
        x, y, z = (cosines(n, int(k)) for n, k in zip(self.shape, counts, strict=True))
        return x, y, z

    def analyse(self, values: npt.NDArray[np.floating]) -> Array:
        """Coefficients [..., count] of fields [..., X, Y, Z]."""
        x, y, z = self._waves
        box = np.einsum("...ijk,ia->...ajk", values, x, optimize=True)
        box = np.einsum("...ajk,jb->...abk", box, y, optimize=True)
        box = np.einsum("...abk,kc->...abc", box, z, optimize=True)
        a, b, c = self.index.T
        return np.asarray(box[..., a, b, c] / np.prod(self.shape), dtype=np.float64)

    def synthesise(self, coefficients: Array) -> Array:
        """Fields [..., X, Y, Z] of coefficients [..., count]."""
        x, y, z = self._waves
        batch = coefficients.shape[:-1]
        box = np.zeros((*batch, x.shape[1], y.shape[1], z.shape[1]))
        a, b, c = self.index.T
        box[..., a, b, c] = coefficients
        box = np.einsum("...abc,kc->...abk", box, z, optimize=True)
        box = np.einsum("...abk,jb->...ajk", box, y, optimize=True)
        return np.asarray(np.einsum("...ajk,ia->...ijk", box, x, optimize=True))

    def at(self, points: npt.NDArray[np.int64]) -> Array:
        """[P, count] value of every function at voxel indices [P, 3]."""
        x, y, z = self._waves
        a, b, c = self.index.T
        i, j, k = points.T
        return x[np.ix_(i, a)] * y[np.ix_(j, b)] * z[np.ix_(k, c)]


def pack(matrix: Array) -> Array:
    """[r (r + 1) / 2] entries of a symmetric [r, r] matrix; the L2 norm is its Frobenius norm."""
    rows, columns = np.triu_indices(len(matrix))
    return np.asarray(matrix[rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0)))


def unpack(vector: Array) -> Array:
    """Invert `pack`."""
    size = int((np.sqrt(8 * len(vector) + 1) - 1) // 2)
    rows, columns = np.triu_indices(size)
    matrix = np.zeros((size, size))
    matrix[rows, columns] = vector / np.where(rows == columns, 1.0, np.sqrt(2.0))
    return np.asarray(matrix + matrix.T - np.diag(np.diag(matrix)))
