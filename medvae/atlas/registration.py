"""Register a template to one patient: a maximum a posteriori displacement by Gauss-Newton.

The inputs are the patient's own volume and a template that is already released, so a later
mechanism may use the result (adaptive composition).

Minimises over displacement coefficients c, with u = sum c_k phi_k,
    1/2 sum_channels w |f(x) - t(x + u(x))|^2 + 1/2 sum ((c - centre) / std)^2
on a thinned grid of voxels, with Levenberg damping (Marquardt 1963).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.displacement import interpolate, prior_std

# Public: highest frequency of a displacement, in cycles per voxel (waves of 16 voxels).
FIELD_FREQUENCY = 0.06
# Public: inverse variances of a channel's disagreement after registration.
IMAGE_WEIGHT, SHAPE_WEIGHT = 2.0, 60.0
# Public: neighbouring residuals are correlated; one in this many voxels is independent.
CORRELATED_VOXELS = 64.0
MAX_POINTS = 3000
MAX_STEP_VOXELS = 3.0
# One Gauss-Newton step for each blur, in voxels: from zero, and from a field of an earlier pass.
BLURS_FROM_ZERO = (2.0, 2.0, 1.0, 1.0, 0.5, 0.5)
BLURS_FROM_FIELD = (1.0, 0.5, 0.5)

Single = npt.NDArray[np.float32]


class MovingImage:
    """A template [C, X, Y, Z] and its gradients at each blur, computed once for all patients."""

    def __init__(self, template: Array) -> None:
        self.template = template
        self._blurred: dict[float, Single] = {}

    def at(self, blur: float) -> Single:
        """[4 C, X, Y, Z] the blurred channels, then the three derivatives of each."""
        if blur not in self._blurred:
            channels = _blur(self.template, blur)
            gradients = [np.stack(np.gradient(channel)) for channel in channels]
            stacked = np.concatenate([channels, *gradients])
            self._blurred[blur] = stacked.astype(np.float32)
        return self._blurred[blur]


@dataclass(frozen=True)
class Registrar:
    """What registration needs besides the patient: basis, prior and thinned grid.

    Attributes:
        basis: of one displacement component, K functions.
        std: [K] prior standard deviation of a coefficient, in voxels.
        points: [P, 3] voxel indices at which images are compared.
        functions: [P, K] the basis at these points.
    """

    basis: Basis
    std: Array
    points: npt.NDArray[np.int64]
    functions: Single

    @classmethod
    def on(cls, shape: Shape, basis: Basis, std: Array) -> Registrar:
        """A registrar that compares at most about `MAX_POINTS` evenly spaced voxels."""
        stride = max(1, round((np.prod(shape) / MAX_POINTS) ** (1 / 3)))
        axes = [np.arange(min(stride // 2, n - 1), n, stride) for n in shape]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        return cls(basis, std, points, basis.at(points).astype(np.float32))

    def register(
        self,
        fixed: Array,
        moving: MovingImage,
        weights: Array,
        *,
        start: Array,
        centre: Array,
        blurs: tuple[float, ...] = BLURS_FROM_ZERO,
    ) -> Array:
        """Coefficients [3, K] of the displacement that pulls the template onto `fixed`.

        Args:
            fixed: [C, X, Y, Z] channels of the patient.
            moving: the template.
            weights: [C] inverse variance of a channel's disagreement.
            start, centre: [3, K] initial coefficients, and the mean of the prior.
            blurs: of both images in each Gauss-Newton step, in voxels.
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
        """One damped Gauss-Newton step [3, K], at most `MAX_STEP_VOXELS` at any point."""
        positions = self.points.T + coefficients @ self.functions.T
        count, K = len(target), len(self.basis)
        sampled = interpolate(moving, positions)
        residual, gradient = target - sampled[:count], sampled[count:].reshape(count, 3, -1)
        weighted = gradient * scale.astype(np.float32)[:, None, None]
        hessian = np.zeros((3, K, 3, K))
        for a in range(3):
            for b in range(a, 3):
                product = (weighted[:, a] * gradient[:, b]).sum(axis=0)
                block = self.functions.T @ (product[:, None] * self.functions)
                hessian[a, :, b, :] = block
                hessian[b, :, a, :] = block.T
        likelihood = (weighted * residual[:, None]).sum(axis=0) @ self.functions
        precision = np.tile(self.std**-2.0, 3)
        matrix = hessian.reshape(3 * K, 3 * K) + np.diag(precision)
        descent = likelihood.ravel() - precision * (coefficients - centre).ravel()
        step = np.linalg.solve(matrix, descent).reshape(3, K)
        longest = np.abs(step @ self.functions.T).max()
        return np.asarray(step * min(1.0, MAX_STEP_VOXELS / max(longest, 1e-9)))


def registrar(shape: Shape) -> Registrar:
    """The registrar of a grid; a function of public constants alone."""
    basis = Basis.below(shape, FIELD_FREQUENCY)
    return Registrar.on(shape, basis, prior_std(basis))


def channel_weights(labels: int) -> Array:
    """[1 + labels] inverse variances of channels for registration."""
    return np.array([IMAGE_WEIGHT] + [SHAPE_WEIGHT / max(labels, 1)] * labels)


def _blur(channels: Array, sigma: float) -> Array:
    return np.stack([ndimage.gaussian_filter(c, sigma, mode="nearest") for c in channels])
