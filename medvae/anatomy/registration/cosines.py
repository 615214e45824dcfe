"""Displacements: cosines on a box in millimetres, whitened by a public law, and affine modes.

A component of the displacement is
    sum_k c_k std_k (phi_k - affine part of phi_k) + sum_m t_m e_m,
phi_k products of cosines of mean square 1 on the box (discrete cosine transform, type II), e_m
the constant and the three linear functions of mean square 1. Each cosine sum is separable, so that
synthesis and transpose cost a few operations a voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from medvae.anatomy.registration.geometry import Array, Box, BoxGrid

# Public law of anatomical variation: spectral density proportional to
# (1 + (f CORNER_MM)^2)^-2.5, f in cycles per mm, RMS_MM a component over all frequencies.
# It is the same law in every box: small organs keep what the law has at high frequencies.
CORNER_MM = 60.0
RMS_MM = 6.0
EXPONENT = 2.5


@dataclass(frozen=True)
class CosineBasis:
    """The functions of one displacement component.

    Attributes:
        box: where they live; its sides are half a period of the slowest cosines.
        max_frequency: cycles per mm; faster cosines are left out. 0: affine modes only.
    """

    box: Box
    max_frequency: float

    @property
    def orders(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """[K, 3] half periods along each axis, by ascending frequency (constant left out)."""
        counts = [n - 1 for n in self._counts]
        every = np.indices([n + 1 for n in counts]).reshape(3, -1).T
        frequency = self._frequency(every)
        slow = every[(frequency <= self.max_frequency) & (every.sum(axis=1) > 0)]
        # A stable order: by frequency rounded well below the distance of two, then by index.
        keys = np.rint(self._frequency(slow) * 1e9)
        return np.asarray(slow[np.lexsort((slow[:, 2], slow[:, 1], slow[:, 0], keys))])

    @property
    def frequencies(self) -> Array:
        """[K] cycles per mm."""
        return self._frequency(self.orders)

    @property
    def std(self) -> Array:
        """[K] public standard deviation of a coefficient, in mm."""
        total = 4.0 * np.pi / 3.0 / CORNER_MM**3
        density = (1.0 + (self.frequencies * CORNER_MM) ** 2) ** -EXPONENT
        return np.asarray(RMS_MM * np.sqrt(density / total / float(np.prod(self.box.size))))

    def __len__(self) -> int:
        return len(self.orders)

    @property
    def _counts(self) -> tuple[int, int, int]:
        x, y, z = (int(2.0 * side * self.max_frequency + 1e-9) + 1 for side in self.box.size)
        return x, y, z

    def _frequency(self, orders: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Array:
        return np.asarray(np.sqrt(((orders / (2.0 * np.asarray(self.box.size))) ** 2).sum(axis=1)))

    def on(self, grid: BoxGrid, device: torch.device) -> Synthesis:
        """The functions at the voxels of a grid of the same box."""
        if grid.box != self.box:
            raise ValueError("the grid and the basis must have the same box")
        return Synthesis(self, grid, device)


class Synthesis:
    """Coefficients to displacements on one grid, and the transpose.

    Coefficients are [3, 4 + K] float64: four affine modes (constant, x, y, z), in mm, and K
    whitened cosines (standard deviation 1 under the public law).
    """

    def __init__(self, basis: CosineBasis, grid: BoxGrid, device: torch.device) -> None:
        counts = basis._counts
        self._shape = tuple(n + 1 for n in counts)
        orders = basis.orders
        self._index = torch.from_numpy(np.ravel_multi_index(orders.T, self._shape)).to(device)
        self._std = torch.from_numpy(basis.std).to(device)
        linear = [
            np.ravel_multi_index(np.eye(3, dtype=int)[a] * counts[a], self._shape) for a in range(3)
        ]
        self._affine = torch.tensor([0, *map(int, linear)], device=device)
        self._axes = [_axis(n, count, device) for n, count in zip(grid.shape, counts, strict=True)]
        overlap = np.zeros((len(orders), 4))
        for a in range(3):
            along = (orders[:, a] % 2 == 1) & (orders.sum(axis=1) == orders[:, a])
            overlap[along, a + 1] = -2.0 * np.sqrt(24.0) / (np.pi * orders[along, a]) ** 2
        self._overlap = torch.from_numpy(overlap).to(device)

    @property
    def count(self) -> int:
        """Coefficients a component: 4 + K."""
        return 4 + len(self._index)

    def field(self, coefficients: torch.Tensor) -> torch.Tensor:
        """[3, X, Y, Z] float32 displacement in mm of coefficients [3, 4 + K]."""
        cosines = coefficients[:, 4:] * self._std
        modes = torch.zeros(
            (3, int(np.prod(self._shape))), dtype=torch.float64, device=coefficients.device
        )
        modes[:, self._index] = cosines
        modes[:, self._affine] += coefficients[:, :4] - cosines @ self._overlap
        x, y, z = self._axes
        values = modes.float().reshape(3, *self._shape) @ z.T
        values = torch.einsum("yb,cabz->cayz", y, values)
        return torch.einsum("xa,cayz->cxyz", x, values)

    def transpose(self, field: torch.Tensor) -> torch.Tensor:
        """[3, 4 + K] float64: the transpose of `field` applied to [3, X, Y, Z]."""
        x, y, z = self._axes
        values = torch.einsum("xa,cxyz->cayz", x, field)
        values = torch.einsum("yb,cayz->cabz", y, values)
        modes = (values @ z).double().reshape(3, -1)
        affine = modes[:, self._affine]
        cosines = (modes[:, self._index] - affine @ self._overlap.T) * self._std
        return torch.cat([affine, cosines], dim=1)


def _axis(n: int, count: int, device: torch.device) -> torch.Tensor:
    """[n, count + 1] float32: `count` cosines and the linear function at n midpoints."""
    t = (np.arange(n) + 0.5) / n
    k = np.arange(count)
    cosines = np.sqrt(np.where(k > 0, 2.0, 1.0)) * np.cos(np.pi * np.outer(t, k))
    linear = (t - 0.5) * np.sqrt(12.0)
    return torch.from_numpy(np.column_stack([cosines, linear]).astype(np.float32)).to(device)
