"""Image and shapes of the baselines as one vector: low-frequency cosines of every channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.shrinkage import best_cutoff, power_law, shrink, weights
from medvae.atlas.template import IMAGE_CORNER, IMAGE_SLOPE

# Public, from pairs of random ellipsoids: power ~ (1 + (f / corner)^2)^(-slope / 2) of shape
# channels, and root mean squares of the union's (about its mean) and of the others; the union's
# mean depends on how much of the grid the labels fill.
SHAPE_CORNER, SHAPE_SLOPE = 0.03, 6.0
UNION_RMS, NEARER_RMS = 0.38, 0.17
UNION_MEAN = 0.8
# Part of the shapes' squared norm that is the union's.
UNION_PART = 0.7


@dataclass(frozen=True)
class Layout:
    """How channels [1 + L, X, Y, Z] become one vector of norm about 1, and back.

    Attributes:
        image, shape: bases of the image and of the shape channels.
        image_weights: [Ki] what a coefficient is multiplied by in the vector.
        shape_weights: [L, Ks] the same of each shape channel.
    """

    image: Basis
    shape: Basis
    image_weights: Array
    shape_weights: Array

    @classmethod
    def plan(
        cls,
        grid: Shape,
        labels: int,
        noise: float,
        reach: float,
        image_part: float,
    ) -> Layout:
        """The layout for a vector noise deviation; public, for it sees no data."""
        parts = _parts(labels, image_part)
        first = parts[1] if labels else 1.0
        image_limit = best_cutoff(grid, IMAGE_CORNER, IMAGE_SLOPE, noise / parts[0], reach)
        shape_limit = best_cutoff(grid, SHAPE_CORNER, SHAPE_SLOPE, noise / first, reach)
        image, shape = Basis.below(grid, image_limit), Basis.below(grid, shape_limit)
        image_power = power_law(image.frequency, IMAGE_CORNER, IMAGE_SLOPE)
        return cls(
            image,
            shape,
            parts[0] * weights(image_power),
            parts[1:, None] * _shape_weights(shape.frequency, labels),
        )

    @property
    def dimension(self) -> int:
        return len(self.image) + self.shape_weights.size

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
        parts = vector[split:].reshape(self.shape_weights.shape)
        for part, factors in zip(parts, self.shape_weights, strict=True):
            shape = shrink(part / factors, noise / factors, self.shape.frequency)
            fields.append(self.shape.synthesise(shape))
        return np.stack(fields)


def _shape_weights(frequency: Array, labels: int) -> Array:
    """[L, K]: the union has a mean of any size, up to 1, which must not use up the clip."""
    power = np.tile(power_law(frequency, SHAPE_CORNER, SHAPE_SLOPE), (labels, 1))
    power[:1, 0] = (UNION_MEAN / UNION_RMS) ** 2
    # `weights` keeps the power; here a typical vector's norm shall be 1.
    rows = [weights(row) / np.sqrt(row.sum()) for row in power]
    return np.array(rows).reshape(power.shape)


def _parts(labels: int, image: float) -> Array:
    """[1 + L] what each channel is multiplied by, so that a typical vector has norm 1."""
    if labels == 0:
        return np.ones(1)
    others = labels - 1
    union = (1.0 - image) * (UNION_PART if others else 1.0)
    nearer = (1.0 - image) * (1.0 - UNION_PART) / max(others, 1)
    squares = [image, union / UNION_RMS**2, *[nearer / NEARER_RMS**2] * others]
    return np.asarray(np.sqrt(np.array(squares)))
