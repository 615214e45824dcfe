"""The template's image: a noisy mean over patients of low-frequency coefficients.

Sensitivity. A patient's vector is the mean over the patient's volumes of `encode`, clipped to
`CLIP`. The noisy sum is divided by the public number of patients N, so one patient changes the
mean by at most CLIP / N. `decode` and all that follows is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass

from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.shrinkage import best_cutoff, power_law, shrink, weights

# Public: power ~ (1 + (f / corner)^2)^(-slope / 2), measured on public anatomy (200 crops of the
# MNI152 template), never on a cohort.
IMAGE_CORNER, IMAGE_SLOPE = 0.03, 3.7
# Typical norm of a patient's image.
CLIP = 0.8
# Frequency, in cycles per voxel, up to which patients are aligned: without registration, after
# registration to a coarse template, and to a refined one.
REACH, COARSE_REACH, REFINE_REACH = 0.05, 0.07, 0.12


@dataclass(frozen=True)
class Layout:
    """Code of an image [X, Y, Z] as a vector whose norm is about its root mean square.

    Attributes:
        basis: of the image, K functions.
        weights: [K] factor of each coefficient in the vector.
    """

    basis: Basis
    weights: Array

    @classmethod
    def plan(
        cls,
        grid: Shape,
        noise_std: float,
        reach: float,
        law: tuple[float, float] = (IMAGE_CORNER, IMAGE_SLOPE),
    ) -> Layout:
        """The layout for a noise std of the vector; public, since it uses no data.

        Args:
            grid: shape in voxels.
            noise_std: of each coordinate of the noisy vector.
            reach: frequency up to which patients are aligned, in cycles per voxel.
            law: corner (cycles per voxel) and slope of the power of what is measured.
        """
        basis = Basis.below(grid, best_cutoff(grid, *law, noise_std, reach))
        return cls(basis, weights(power_law(basis.frequency, *law)))

    @property
    def dimension(self) -> int:
        return len(self.basis)

    def encode(self, image: Array) -> Array:
        """[K] weighted coefficients of an image [X, Y, Z]."""
        return self.basis.analyse(image) * self.weights

    def decode(self, noisy: Array, noise_std: float) -> Array:
        """[X, Y, Z] image of a noisy vector [K], shrunk for its noise std."""
        estimate = shrink(noisy / self.weights, noise_std / self.weights, self.basis.frequency)
        return self.basis.synthesise(estimate)
