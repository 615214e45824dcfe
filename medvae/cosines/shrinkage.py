"""Released vectors and matrices less what noise explains of them: post-processing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medvae.cosines.basis import Array

# Part of a typical variance that every direction keeps: noise may leave it with less than none.
FLATTEST = 0.02


def toward_zero(values: Array, sigma: float, bands: npt.NDArray[np.int64]) -> Array:
    """[D] each band times the part of its power that noise does not explain.

    Positive-part James-Stein (1961), band by band.
    """
    index = np.unique(bands, return_inverse=True)[1].reshape(-1)
    power = np.bincount(index, values**2) / np.bincount(index)
    factor = np.where(power > sigma**2, 1.0 - sigma**2 / np.maximum(power, sigma**2 or 1.0), 0.0)
    return np.asarray(values * factor[index])


def spectral(matrix: Array, sigma: float) -> Array:
    """A symmetric matrix [D, D] in noise, its eigenvalues shrunk.

    Noise has deviation `sigma` on the diagonal and sigma / sqrt(2) beside it, so that its
    eigenvalues reach to `edge` = sigma sqrt(2 D) (Wigner 1955). An eigenvalue l beyond becomes
    sqrt(l^2 - edge^2), which has the least expected squared error (Donoho, Gavish and
    Montanari 2018), and one within becomes 0.
    """
    values, vectors = np.linalg.eigh(matrix)
    edge = sigma * np.sqrt(2.0 * len(matrix))
    shrunk = np.sign(values) * np.sqrt(np.maximum(values**2 - edge**2, 0.0))
    return np.asarray((vectors * shrunk) @ vectors.T)


def nearest_covariance(matrix: Array) -> Array:
    """A symmetric matrix with every eigenvalue at least `FLATTEST`."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, FLATTEST)) @ vectors.T)


def packed(matrix: Array) -> Array:
    """[D (D + 1) / 2] of a symmetric [D, D], of the same norm."""
    rows, columns = np.triu_indices(len(matrix))
    return np.asarray(matrix[rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0)))


def unpacked(values: Array, count: int) -> Array:
    """Invert `packed`."""
    rows, columns = np.triu_indices(count)
    matrix = np.zeros((count, count))
    matrix[rows, columns] = values / np.where(rows == columns, 1.0, np.sqrt(2.0))
    return matrix + np.triu(matrix, 1).T
