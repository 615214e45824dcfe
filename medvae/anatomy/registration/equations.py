"""The Gauss-Newton system of one step: three-by-three matrices a voxel, never a dense Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from medvae.anatomy.registration import sampling
from medvae.anatomy.registration.cosines import Synthesis
from medvae.anatomy.registration.geometry import Triple

# Channels whose slopes are held at once: bounds memory.
CHUNK = 8
# Below this volume ratio a displacement counts as folded.
LEAST_DETERMINANT = 0.2
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass
class System:
    """Sums over channels of slope products and slope residuals, by the displacement.

    Attributes:
        hessian: [6, X, Y, Z] the distinct entries of the symmetric matrices (`PAIRS`).
        gradient: [3, X, Y, Z] toward a smaller residual.
    """

    hessian: torch.Tensor
    gradient: torch.Tensor

    @classmethod
    def of(
        cls,
        residuals: torch.Tensor,
        maps: torch.Tensor,
        weights: torch.Tensor,
        field: torch.Tensor | None,
        spacing: Triple,
    ) -> System:
        """The system where maps [C, X, Y, Z], pulled already, leave `residuals`.

        weights: [C, X, Y, Z] inverse variances. field: the displacement by which the maps were
        pulled, in mm; None where it is affine.
        """
        hessian = maps.new_zeros((6, *maps.shape[1:]))
        gradient = maps.new_zeros((3, *maps.shape[1:]))
        for first in range(0, len(maps), CHUNK):
            chunk = slice(first, first + CHUNK)
            slope = [sampling.slope(maps[chunk], axis, spacing[axis]) for axis in range(3)]
            weighted = [weights[chunk] * part for part in slope]
            for entry, (a, b) in enumerate(PAIRS):
                hessian[entry] += (weighted[a] * slope[b]).sum(dim=0)
            for axis in range(3):
                gradient[axis] += (weighted[axis] * residuals[chunk]).sum(dim=0)
        system = cls(hessian, gradient)
        return system if field is None else system._unwarped(field, spacing)

    def times(self, field: torch.Tensor) -> torch.Tensor:
        """[3, X, Y, Z]: the matrices times a field."""
        xx, yy, zz, xy, xz, yz = self.hessian
        x, y, z = field
        return torch.stack(
            [xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z]
        )

    def _unwarped(self, field: torch.Tensor, spacing: Triple) -> System:
        """From slopes of the pulled maps to slopes of the maps where they were pulled from.

        The former are J^T times the latter, J = 1 + slopes of the displacement.
        """
        inverse = _inverse(field, spacing)
        rows = torch.stack([self.times(inverse[:, column]) for column in range(3)], dim=1)
        hessian = [(inverse[:, a] * rows[:, b]).sum(dim=0) for a, b in PAIRS]
        gradient = [(inverse[:, a] * self.gradient).sum(dim=0) for a in range(3)]
        return System(torch.stack(hessian), torch.stack(gradient))


def _inverse(field: torch.Tensor, spacing: Triple) -> torch.Tensor:
    """[3, 3, X, Y, Z] inverse of J; the identity where the field all but folds."""
    j = torch.stack([sampling.slope(field, axis, spacing[axis]) for axis in range(3)], dim=1)
    for axis in range(3):
        j[axis, axis] += 1.0
    cofactor = torch.empty_like(j)
    for a in range(3):
        for b in range(3):
            p, q, r, s = (a + 1) % 3, (a + 2) % 3, (b + 1) % 3, (b + 2) % 3
            cofactor[a, b] = j[p, r] * j[q, s] - j[p, s] * j[q, r]
    determinant = (j[0] * cofactor[0]).sum(dim=0)
    inverse = cofactor.transpose(0, 1) / determinant.clamp(min=LEAST_DETERMINANT)
    identity = torch.eye(3, device=field.device).reshape(3, 3, 1, 1, 1)
    return torch.where(determinant > LEAST_DETERMINANT, inverse, identity)


def half_square(residual: torch.Tensor, weight: torch.Tensor) -> float:
    """Half the weighted sum of squares, summed in float64."""
    return 0.5 * float((residual * residual * weight).sum(dtype=torch.float64))


def solve(
    system: System, synthesis: Synthesis, state: torch.Tensor, scale: torch.Tensor, steps: int
) -> torch.Tensor:
    """The step [3, 4 + K] that minimises the quadratic model, by conjugate gradients.

    Args:
        state: [3, 4 + K] the present coefficients, divided by their prior deviations.
        scale: [4 + K] prior standard deviations (1 for whitened cosines); 0 for what is fixed.
        steps: most iterations.
    """

    def operator(z: torch.Tensor) -> torch.Tensor:
        moved = synthesis.field(z * scale)
        return z + synthesis.transpose(system.times(moved)) * scale

    right = synthesis.transpose(system.gradient) * scale - state
    return conjugate_gradients(operator, right, steps) * scale


def conjugate_gradients(
    operator: Callable[[torch.Tensor], torch.Tensor],
    right: torch.Tensor,
    steps: int,
    tolerance: float = 1e-2,
) -> torch.Tensor:
    """Solve operator(z) = right from z = 0; stops at a residual of `tolerance`, relative."""
    z = torch.zeros_like(right)
    residual = right.clone()
    direction = right.clone()
    square = float((residual * residual).sum())
    enough = square * tolerance**2
    for _ in range(steps):
        if square <= enough:
            break
        image = operator(direction)
        step = square / float((direction * image).sum())
        z += step * direction
        residual -= step * image
        new = float((residual * residual).sum())
        direction = residual + (new / square) * direction
        square = new
    return z
