"""The template's image: a mean over patients, released under noise.

Sensitivity. A patient's vector is the mean over the patient's volumes of `encode`, clipped
to `CLIP`; the release is the noisy sum over the public number of patients N, so a patient
moves it by at most CLIP / N. `decode` and all that follows is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass

from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.statistics import best_limit, power_law, shrink, weights

# Public constants, measured on public anatomy (200 crops of the MNI152 template), never on a
# cohort: power ~ (1 + (f / corner)^2)^(-slope / 2).
IMAGE_CORNER, IMAGE_SLOPE = 0.03, 3.7
# Typical norm of a patient's image.
CLIP = 0.8
# Cycles per voxel up to which patients are in step: before registration, after one to a crude
# template, and after one to a good template with fields up to `study.FIELD_FREQUENCY`.
REACH, COARSE_REACH, REFINE_REACH = 0.05, 0.07, 0.12


@dataclass(frozen=True)
class Layout:
    """How an image [X, Y, Z] becomes a vector of norm about its root mean square, and back.

    Attributes:
        basis: of the image (count K).
        weights: [K] what a coefficient is multiplied by in the vector.
    """

    basis: Basis
    weights: Array

    @classmethod
    def plan(
        cls,
        grid: Shape,
        noise: float,
        reach: float,
        law: tuple[float, float] = (IMAGE_CORNER, IMAGE_SLOPE),
    ) -> Layout:
        """The layout for a vector noise deviation; public, for it sees no data.

        law: corner (cycles per voxel) and slope of what is to be told.
        """
        basis = Basis.below(grid, best_limit(grid, *law, noise, reach))
        return cls(basis, weights(power_law(basis.frequency, *law)))

    @property
    def dimension(self) -> int:
        return len(self.basis)

    def encode(self, image: Array) -> Array:
        """[K] weighted coefficients of an image [X, Y, Z]."""
        return self.basis.analyse(image) * self.weights

    def decode(self, vector: Array, noise: float) -> Array:
        """[X, Y, Z] from a released vector, shrunk for its noise deviation."""
        found = shrink(vector / self.weights, noise / self.weights, self.basis.frequency)
        return self.basis.synthesise(found)
