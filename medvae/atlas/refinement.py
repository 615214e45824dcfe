"""What patients still differ by from a template that they are registered to: one vector, and back.

Sensitivity. A patient's vector is the mean over the patient's volumes of `encode`, whose functions
depend on released templates alone, clipped to `clip`: the released mean moves by at most
clip / N. `decode` is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas.basis import Array
from medvae.atlas.outline import Outlines
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE, Layout

# Public: the law of power of what a blurred mean leaves of an image, which is like the image's own,
# and of what a template as sharp as a patient leaves: all waves out of place alike, up to its
# corner. Chosen on mri_hippocampus.
BLURRED, SHARP = (IMAGE_CORNER, IMAGE_SLOPE), (0.07, 4.5)
# Public: what squared norms are multiplied by: a typical image's, that of the outline of all labels
# and of the borders between them; and the typical norm of all. A blurred image has more to learn.
SHARP_PARTS, SHARP_CLIP = (1.5, 0.3, 0.1), 0.8
BLURRED_PARTS, BLURRED_CLIP = (2.0, 0.15, 0.05), 0.9
IMAGE_CLIP = 0.5


def clip(labels: int, *, sharp: bool) -> float:
    """About the typical norm of a vector."""
    if not labels:
        return IMAGE_CLIP
    return SHARP_CLIP if sharp else BLURRED_CLIP


@dataclass(frozen=True)
class Refinement:
    """Differences of channels [1 + L, X, Y, Z] as a vector: of the image, then of outlines.

    Attributes:
        image: layout of the image's coefficients.
        root: what these are multiplied by in the vector.
        outlines: of the labels.
    """

    image: Layout
    root: float
    outlines: Outlines

    @classmethod
    def plan(cls, template: Array, noise: float, reach: float, *, sharp: bool) -> Refinement:
        """For a released template [1 + L, X, Y, Z] and the deviation of a vector's noise.

        reach: cycles per voxel up to which patients are in step (see `template`).
        sharp: the template's image is as sharp as a patient's.
        """
        labels, x, y, z = len(template) - 1, *template.shape[1:]
        part, union, between = SHARP_PARTS if sharp else BLURRED_PARTS
        root = float(np.sqrt(part)) if labels else 1.0
        layout = Layout.plan((x, y, z), noise / root, reach, SHARP if sharp else BLURRED)
        return cls(layout, root, Outlines.of(template[1:], union, between, noise))

    @property
    def dimension(self) -> int:
        return self.image.dimension + self.outlines.dimension

    def encode(self, channels: Array) -> Array:
        """[dimension] of differences of channels [1 + L, X, Y, Z]."""
        image = self.root * self.image.encode(channels[0])
        return np.concatenate([image, self.outlines.encode(channels[1:])])

    def decode(self, vector: Array, noise: float) -> Array:
        """Differences [1 + L, X, Y, Z] from a released vector, shrunk for its noise deviation."""
        split = self.image.dimension
        image = self.image.decode(vector[:split] / self.root, noise / self.root)
        return np.stack([image, *self.outlines.decode(vector[split:], noise)])
