"""Register a template to one patient: a maximum a posteriori field, by Gauss-Newton.

Only the patient's own volume and a template that has already been released enter, so a
release that follows may use the result freely (adaptive composition).

Minimised over the displacement coefficients c, u = sum c_k phi_k:
    1/2 sum_channels w |f(x) - t(x + u(x))|^2 + 1/2 sum ((c - centre) / deviation)^2
on a thinned grid of voxels, with Levenberg damping (Marquardt 1963).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.displacement import sample

# Public constants. Neighbouring voxels do not disagree independently: one independent
# residual per so many voxels.
CORRELATED_VOXELS = 64.0
MAX_POINTS = 3000
MAX_STEP_VOXELS = 3.0


@dataclass(frozen=True)
class Registrar:
    """What registration needs besides the patient: basis, prior and the thinned grid.

    Attributes:
        basis: of one displacement component (count K).
        deviation: [K] prior standard deviation of a coefficient, in voxels.
        points: [P, 3] voxel indices where the images are compared.
        functions: [P, K] the basis there.
    """

    basis: Basis
    deviation: Array
    points: npt.NDArray[np.int64]
    functions: Array

    @classmethod
    def on(cls, shape: Shape, basis: Basis, deviation: Array) -> Registrar:
        stride = max(1, round((np.prod(shape) / MAX_POINTS) ** (1 / 3)))
        axes = [np.arange(min(stride // 2, n - 1), n, stride) for n in shape]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        return cls(basis, deviation, points, basis.at(points))

    def register(
        self,
        fixed: Array,
        template: Array,
        weights: Array,
        *,
        start: Array,
        centre: Array,
        blurs: tuple[float, ...] = (2.0, 2.0, 1.0, 1.0, 0.5, 0.5),
    ) -> Array:
        """Coefficients [3, K] of the field that pulls `template` onto `fixed`.

        Args:
            fixed, template: [C, X, Y, Z] channels to be matched.
            weights: [C] inverse variance of a channel's disagreement.
            start, centre: [3, K] first guess, and the prior's mean.
            blurs: one Gauss-Newton step each, both sides blurred by so many voxels.
        """
        coefficients = start.copy()
        scale = weights * (np.prod(fixed.shape[1:]) / len(self.points) / CORRELATED_VOXELS)
        previous = -1.0
        for blur in blurs:
            if blur != previous:
                target = _blur(fixed, blur)[:, *self.points.T]
                moving = _blur(template, blur)
                slopes = np.concatenate([np.stack(np.gradient(channel)) for channel in moving])
                previous = blur
            step = self._step(coefficients, target, moving, slopes, scale, centre)
            coefficients = coefficients + step
        return coefficients

    def _step(
        self,
        coefficients: Array,
        target: Array,
        moving: Array,
        slopes: Array,
        scale: Array,
        centre: Array,
    ) -> Array:
        """One damped Gauss-Newton step [3, K], at most `MAX_STEP_VOXELS` anywhere."""
        where = self.points.T + coefficients @ self.functions.T
        count = len(target)
        found = sample(np.concatenate([moving, slopes]), where)
        residual, slope = target - found[:count], found[count:].reshape(count, 3, -1)
        K = len(self.basis)
        hessian = np.zeros((3, K, 3, K))
        for a in range(3):
            for b in range(a, 3):
                product = np.einsum("c,cp,cp->p", scale, slope[:, a], slope[:, b])
                block = self.functions.T @ (product[:, None] * self.functions)
                hessian[a, :, b, :] = block
                hessian[b, :, a, :] = block.T
        pull = np.einsum("c,cap,cp->ap", scale, slope, residual) @ self.functions
        precision = np.tile(self.deviation**-2.0, 3)
        matrix = hessian.reshape(3 * K, 3 * K) + np.diag(precision)
        gradient = pull.ravel() - precision * (coefficients - centre).ravel()
        step = np.linalg.solve(matrix, gradient).reshape(3, K)
        longest = np.abs(step @ self.functions.T).max()
        return np.asarray(step * min(1.0, MAX_STEP_VOXELS / max(longest, 1e-9)))


def _blur(channels: Array, sigma: float) -> Array:
    if sigma <= 0:
        return channels
    return np.stack([ndimage.gaussian_filter(c, sigma, mode="nearest") for c in channels])
