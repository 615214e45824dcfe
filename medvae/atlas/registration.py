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

Single = npt.NDArray[np.float32]


# One Gauss-Newton step at each blur (in voxels), from nothing or from a field nearly right.
AFRESH = (2.0, 2.0, 1.0, 1.0, 0.5, 0.5)
AGAIN = (1.0, 0.5, 0.5)


class Moving:
    """A template [C, X, Y, Z] and its slopes at every blur, worked out once for all patients."""

    def __init__(self, template: Array) -> None:
        self.template = template
        self._blurred: dict[float, Single] = {}

    def at(self, blur: float) -> Single:
        """[4 C, X, Y, Z]: the blurred channels, then three slopes of each."""
        if blur not in self._blurred:
            channels = _blur(self.template, blur)
            slopes = [np.stack(np.gradient(channel)) for channel in channels]
            stacked = np.concatenate([channels, *slopes])
            self._blurred[blur] = stacked.astype(np.float32)
        return self._blurred[blur]


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
    functions: Single

    @classmethod
    def on(cls, shape: Shape, basis: Basis, deviation: Array) -> Registrar:
        stride = max(1, round((np.prod(shape) / MAX_POINTS) ** (1 / 3)))
        axes = [np.arange(min(stride // 2, n - 1), n, stride) for n in shape]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        return cls(basis, deviation, points, basis.at(points).astype(np.float32))

    def register(
        self,
        fixed: Array,
        moving: Moving,
        weights: Array,
        *,
        start: Array,
        centre: Array,
        blurs: tuple[float, ...] = AFRESH,
    ) -> Array:
        """Coefficients [3, K] of the field that pulls the template onto `fixed`.

        Args:
            fixed: [C, X, Y, Z] channels to be matched.
            moving: the template.
            weights: [C] inverse variance of a channel's disagreement.
            start, centre: [3, K] first guess, and the prior's mean.
            blurs: one Gauss-Newton step each, both sides blurred by so many voxels.
        """
        coefficients = start.copy()
        scale = weights * (np.prod(fixed.shape[1:]) / len(self.points) / CORRELATED_VOXELS)
        targets: dict[float, Single] = {}
        for blur in blurs:
            if blur not in targets:
                targets[blur] = _blur(fixed, blur)[:, *self.points.T].astype(np.float32)
            step = self._step(coefficients, targets[blur], moving.at(blur), scale, centre)
            coefficients = coefficients + step
        return coefficients

    def _step(
        self, coefficients: Array, target: Single, moving: Single, scale: Array, centre: Array
    ) -> Array:
        """One damped Gauss-Newton step [3, K], at most `MAX_STEP_VOXELS` anywhere."""
        where = self.points.T + coefficients @ self.functions.T
        count, K = len(target), len(self.basis)
        found = sample(moving, where)
        residual, slope = target - found[:count], found[count:].reshape(count, 3, -1)
        weighted = slope * scale.astype(np.float32)[:, None, None]
        hessian = np.zeros((3, K, 3, K))
        for a in range(3):
            for b in range(a, 3):
                product = (weighted[:, a] * slope[:, b]).sum(axis=0)
                block = self.functions.T @ (product[:, None] * self.functions)
                hessian[a, :, b, :] = block
                hessian[b, :, a, :] = block.T
        pull = (weighted * residual[:, None]).sum(axis=0) @ self.functions
        precision = np.tile(self.deviation**-2.0, 3)
        matrix = hessian.reshape(3 * K, 3 * K) + np.diag(precision)
        gradient = pull.ravel() - precision * (coefficients - centre).ravel()
        step = np.linalg.solve(matrix, gradient).reshape(3, K)
        longest = np.abs(step @ self.functions.T).max()
        return np.asarray(step * min(1.0, MAX_STEP_VOXELS / max(longest, 1e-9)))


def _blur(channels: Array, sigma: float) -> Array:
    return np.stack([ndimage.gaussian_filter(c, sigma, mode="nearest") for c in channels])
