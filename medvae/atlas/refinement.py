"""Refinement of a template: the mean difference of registered patients from it, as one vector.

Sensitivity. A patient's vector is the mean over the patient's volumes of `encode`, whose functions
depend on released templates alone, clipped to `clip`: one patient changes the noisy mean by at
most clip / N. `decode` is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas.basis import Array
from medvae.atlas.boundary_modes import LabelBoundaries
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE, Layout

# Public: power law (corner, slope) of an image's difference from a blurred mean, which is like the
# image's own, and from a template as sharp as a patient, where all frequencies up to its corner are
# misaligned alike. Chosen on mri_hippocampus.
BLURRED_LAW, SHARP_LAW = (IMAGE_CORNER, IMAGE_SLOPE), (0.07, 4.5)
# Public: factors of squared norms (image, boundary of the union, boundaries between labels), and
# the typical norm of the whole vector. A blurred image differs more from patients.
SHARP_FACTORS, SHARP_CLIP = (1.5, 0.3, 0.1), 0.8
BLURRED_FACTORS, BLURRED_CLIP = (2.0, 0.15, 0.05), 0.9
IMAGE_CLIP = 0.5


def clip(labels: int, *, sharp: bool) -> float:
    """Clip of a vector: about the typical norm."""
    if not labels:
        return IMAGE_CLIP
    return SHARP_CLIP if sharp else BLURRED_CLIP


@dataclass(frozen=True)
class Refinement:
    """Code of differences of channels [1 + L, X, Y, Z]: image, then label boundaries.

    Attributes:
        image: layout of the image's coefficients.
        image_scale: factor of these coefficients in the vector.
        boundaries: of the labels.
    """

    image: Layout
    image_scale: float
    boundaries: LabelBoundaries

    @classmethod
    def plan(cls, template: Array, noise_std: float, reach: float, *, sharp: bool) -> Refinement:
        """The refinement of a released template [1 + L, X, Y, Z].

        Args:
            template: released channels.
            noise_std: of each coordinate of the noisy vector.
            reach: frequency up to which patients are aligned, in cycles per voxel.
            sharp: the template's image is as sharp as a patient's.
        """
        labels, x, y, z = len(template) - 1, *template.shape[1:]
        image, union, between = SHARP_FACTORS if sharp else BLURRED_FACTORS
        scale = float(np.sqrt(image)) if labels else 1.0
        law = SHARP_LAW if sharp else BLURRED_LAW
        layout = Layout.plan((x, y, z), noise_std / scale, reach, law)
        return cls(layout, scale, LabelBoundaries.of(template[1:], union, between, noise_std))

    @property
    def dimension(self) -> int:
        return self.image.dimension + self.boundaries.dimension

    def encode(self, channels: Array) -> Array:
        """[dimension] vector of differences of channels [1 + L, X, Y, Z]."""
        image = self.image_scale * self.image.encode(channels[0])
        return np.concatenate([image, self.boundaries.encode(channels[1:])])

    def decode(self, noisy: Array, noise_std: float) -> Array:
        """Differences [1 + L, X, Y, Z] of a noisy vector, shrunk for its noise std."""
        split, scale = self.image.dimension, self.image_scale
        image = self.image.decode(noisy[:split] / scale, noise_std / scale)
        return np.stack([image, *self.boundaries.decode(noisy[split:], noise_std)])
