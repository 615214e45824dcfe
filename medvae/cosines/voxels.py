"""How channels go together in a voxel: their means and products over all voxels of all images.

Correlations of waves are many numbers, each in noise, and borders take some of them away. Mean
values of the channels and of products of two are a few numbers of little noise. They say what a
voxel of one channel shows of the same voxel in another, and a draw is brought to them by one linear
map of its channels: the one that moves voxels least (Olkin and Pukelsheim 1982).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from medvae.cosines.basis import Array, Basis
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.shrinkage import packed, unpacked

# Clip, over the root of the number of channels: of images whose channels have means, and squares,
# that are a fourth from those of the model.
VOXEL_REACH: Final = 0.35
# How far the moments of a model's draws are from those of images, in a population: in deviations
# and variances of the directions in which its channels vary independently.
CLOSE: Final = 0.3
# No direction of channel values is stretched by more than this, or shrunk.
MOST_STRETCH: Final = 2.0
# Draws, without borders, that vectors are measured around.
CENTRE_IMAGES: Final = 24
# Draws that are simulated to learn the moments that the model has without this, in coefficients.
SIMULATED: Final = 20_000_000
FEWEST_IMAGES, MOST_IMAGES = 12, 64
# And so many times as many of them without borders.
PLAIN_IMAGES: Final = 10


@dataclass(frozen=True)
class VoxelMoments:
    """Mean over voxels of each channel, and of each product of two, around those of the model.

    Around 0 most of a vector would be air, which is -1, and no clip fits images with and without.

    Attributes:
        basis: of the grid.
        state: all that the model has but these.
    """

    basis: Basis
    state: Numbers
    name: str = "voxels"
    share: float = 1.0

    @property
    def dimension(self) -> int:
        count = self.basis.channels
        return count + count * (count + 1) // 2

    @property
    def clip(self) -> float:
        return VOXEL_REACH * float(np.sqrt(self.basis.channels))

    def measure(self, coefficients: Array, category: int | None) -> Array:
        return _moments(self._voxels(coefficients)) - self._centre

    def estimate(self, released: Array, sigma: float, state: Numbers) -> Numbers:
        mean, covariance = self._parts(self._of_draws(state))
        trusted = _trusted(mean, covariance, *self._parts(released), sigma)
        return replace(state, voxels=_least_map(mean, covariance, *trusted))

    def _of_draws(self, state: Numbers) -> Array:
        """[dimension] of draws of the model as it is without this statistic.

        Borders take most of the time and change moments in much the same way in all draws: the
        change is of few draws, and what it is added to of many.
        """
        count = int(np.clip(SIMULATED // len(self.basis), FEWEST_IMAGES, MOST_IMAGES))
        random, model = np.random.default_rng(0), CosineModel(self.basis, state)
        plain, changes = [], []
        for index in range(count * PLAIN_IMAGES):
            values = model.coefficients(random, model.pick(random) or 0)
            plain.append(self.measure(values, None))
            if index < count:
                image = model.channel_values(model.bordered(values))
                own = _moments(image.reshape(self.basis.channels, -1)) - self._centre
                changes.append(own - plain[-1])
        return np.asarray(np.mean(plain, axis=0) + np.mean(changes, axis=0))

    @cached_property
    def _centre(self) -> Array:
        """[dimension] means and products that the model has without this, roughly."""
        random, model = np.random.default_rng(0), CosineModel(self.basis, self.state)
        draws = [model.coefficients(random, model.pick(random) or 0) for _ in range(CENTRE_IMAGES)]
        return np.asarray(np.mean([_moments(self._voxels(values)) for values in draws], axis=0))

    def _voxels(self, coefficients: Array) -> Array:
        """[C, V] of coefficients [F]."""
        return self.basis.synthesise(coefficients).reshape(self.basis.channels, -1)

    def _parts(self, vector: Array) -> tuple[Array, Array]:
        """([C] means, [C, C] covariance) that a vector says."""
        count, values = self.basis.channels, vector + self._centre
        mean = values[:count]
        return mean, unpacked(values[count:], count) - np.outer(mean, mean)


def _moments(voxels: Array) -> Array:
    """[C + C (C + 1) / 2] means and products of the channels of voxels [C, V]."""
    return np.concatenate([voxels.mean(axis=1), packed(voxels @ voxels.T / voxels.shape[1])])


def _trusted(
    mean: Array, covariance: Array, to_mean: Array, to_covariance: Array, sigma: float
) -> tuple[Array, Array]:
    """([C] means, [C, C] covariance) between a model's and released ones, as noise allows.

    In the directions in which the model's channels vary independently, over how much they do: where
    channels are nearly the same, as frames are, little noise hides how they differ.
    """
    sizes, vectors = np.linalg.eigh(covariance)
    sizes = np.maximum(sizes, 1e-9)
    root = vectors * np.sqrt(sizes)
    inverse = (vectors / np.sqrt(sizes)).T
    noise = sigma / np.sqrt(sizes)
    shift = inverse @ (to_mean - mean) * CLOSE**2 / (CLOSE**2 + noise**2)
    # A product of two channels has the noise of a square over the root of 2.
    noises = np.outer(noise, noise) / max(sigma, 1e-9) / np.sqrt(2.0 - np.eye(len(sizes)))
    apart = inverse @ (to_covariance - covariance) @ inverse.T
    apart = apart * CLOSE**2 / (CLOSE**2 + noises**2)
    return mean + root @ shift, covariance + root @ apart @ root.T


def _least_map(mean: Array, covariance: Array, to_mean: Array, to_covariance: Array) -> Array:
    """[C, C + 1] linear map and shift that bring values of one mean and covariance to others.

    Noise may have left `to_covariance` with no root: where its part of `covariance` is beyond
    `MOST_STRETCH` squared, either way, it is taken to be that.
    """
    root, inverse = _roots(covariance)
    sizes, vectors = np.linalg.eigh(inverse @ to_covariance @ inverse)
    sizes = np.clip(sizes, MOST_STRETCH**-2, MOST_STRETCH**2)
    wanted = root @ (vectors * sizes) @ vectors.T @ root
    middle, _ = _roots(root @ wanted @ root)
    matrix = inverse @ middle @ inverse
    return np.column_stack([matrix, to_mean - matrix @ mean])


def _roots(matrix: Array) -> tuple[Array, Array]:
    """The symmetric root of a covariance, and its inverse."""
    sizes, vectors = np.linalg.eigh(matrix)
    sizes = np.sqrt(np.maximum(sizes, 1e-9))
    return (vectors * sizes) @ vectors.T, (vectors / sizes) @ vectors.T
