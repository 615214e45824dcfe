"""The template: a mean image and mean signed distances, released under noise.

Sensitivity. A patient's vector is the mean over the patient's volumes of `encode`, clipped
to `CLIP`; the release is the noisy sum over the public number of patients N, so a patient
moves it by at most CLIP / N. `decode` and all that follows is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.statistics import best_limit, power_law, shrink, weights

# Public constants, measured on public anatomy (crops of the MNI152 template for images)
# and on procedural labels, never on a cohort: power ~ (1 + (f / corner)^2)^(-slope / 2).
IMAGE_CORNER, IMAGE_SLOPE = 0.03, 3.4
SHAPE_CORNER, SHAPE_SLOPE = 0.03, 5.0
# Root mean square of a label's signed distance minus 1, for a label of usual size.
SHAPE_RMS = 0.5
# Typical vectors have norm about 1 by construction.
CLIP = 1.0


@dataclass(frozen=True)
class Layout:
    """How channels [1 + L, X, Y, Z] become one vector of norm about 1, and back.

    Attributes:
        image, shape: bases of the image and of the signed distances.
        image_weights, shape_weights: what a coefficient is multiplied by in the vector.
        labels: L.
    """

    image: Basis
    shape: Basis
    image_weights: Array
    shape_weights: Array
    labels: int

    @classmethod
    def plan(cls, grid: Shape, labels: int, noise: float) -> Layout:
        """The layout for a vector noise deviation; public, for it sees no data."""
        part = np.sqrt(0.5) if labels else 1.0
        shape_part = np.sqrt(0.5 / max(labels, 1)) / SHAPE_RMS
        image = Basis.below(grid, best_limit(grid, IMAGE_CORNER, IMAGE_SLOPE, noise / part))
        shape = Basis.below(grid, best_limit(grid, SHAPE_CORNER, SHAPE_SLOPE, noise / shape_part))
        image_power = power_law(image.frequency, IMAGE_CORNER, IMAGE_SLOPE)
        shape_power = power_law(shape.frequency, SHAPE_CORNER, SHAPE_SLOPE)
        return cls(
            image, shape, part * weights(image_power), shape_part * weights(shape_power), labels
        )

    @property
    def dimension(self) -> int:
        return len(self.image) + self.labels * len(self.shape)

    def encode(self, channels: Array) -> Array:
        """[dimension] weighted coefficients of channels [1 + L, X, Y, Z]."""
        image = self.image.analyse(channels[0]) * self.image_weights
        shape = self.shape.analyse(channels[1:]) * self.shape_weights
        return np.concatenate([image, shape.ravel()])

    def decode(self, vector: Array, noise: float) -> Array:
        """Channels [1 + L, X, Y, Z] from a released vector, shrunk for its noise deviation."""
        split = len(self.image)
        image = shrink(
            vector[:split] / self.image_weights, noise / self.image_weights, self.image.frequency
        )
        fields = [self.image.synthesise(image)]
        for part in vector[split:].reshape(self.labels, -1):
            shape = shrink(
                part / self.shape_weights, noise / self.shape_weights, self.shape.frequency
            )
            fields.append(self.shape.synthesise(shape))
        return np.stack(fields)
