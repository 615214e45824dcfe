"""Differences between classes of patients: one mechanism, and shifts of the atlas from its output.

A volume of class k has the vector onehot(k) (x) [1, f], where f has three blocks: residual image
coefficients in the template's frame (weighted by position), low-frequency displacement coefficients
around the released mean, and quantile coefficients less the released ones. Sizes of labels need
no block: registration turns them into displacements.

Sensitivity. Each block is scaled to a norm of at most 1, and the squares of the factors below sum
to 1, so a volume's vector has a norm of at most CLIP = 1 by construction. So has the mean over a
patient's volumes, whatever their classes: one patient changes the noisy mean by at most CLIP / N.
Blocks are clipped one by one, so that the count is never scaled. A volume without a class is zero.

All that follows is post-processing: counts are projected onto the simplex; the difference between
a class's features and the mean over classes is shrunk for its noise (`shrinkage.shrink`), with the
radial component of an image on its own (`radial`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas import intensity
from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.deformation import DeformationCode
from medvae.atlas.radial import distance, radial_component, radial_functions
from medvae.atlas.shrinkage import shrink
from medvae.atlas.template import REFINE_REACH, Layout

CLIP = 1.0
# Public: squared factors of count, image, displacement and grey values; for relative grey values
# (MRI) and for absolute ones (CT).
RELATIVE_PARTS, ABSOLUTE_PARTS = (0.05, 0.55, 0.2, 0.2), (0.05, 0.7, 0.25, 0.0)
# Public: clip of each block, the norm of a typical volume's.
IMAGE_CLIP, DEFORMATION_CLIP, GREY_CLIP = 0.25, 1.0, 0.25
# Public: crops are centred on the structure of interest, so differences near the centre matter
# most: the weight far away, and the radius of the weight in fractions of the longest side.
FAR_WEIGHT, RADIUS = 0.3, 0.25
_CLIPS = (IMAGE_CLIP, DEFORMATION_CLIP, GREY_CLIP)
# Public: a class with a smaller share of the patients gets no shifts.
MIN_SHARE = 0.02


@dataclass(frozen=True)
class Classes:
    """K classes: the frequency of each, and its differences from the mean over all classes.

    Attributes:
        share: [K] of the patients, summing to 1.
        image: [K, X, Y, Z] added to the template's standardised image.
        deformation: [K, 3, F] added to the mean displacement coefficients, in voxels.
        grey: [K, COUNT] added to the mean quantile coefficients.
    """

    share: Array
    image: Array
    deformation: Array
    grey: Array

    def __len__(self) -> int:
        return len(self.share)

    @classmethod
    def none(cls, shape: Shape, functions: int) -> Classes:
        """No classes, on a grid with F displacement functions."""
        return cls(
            np.zeros(0),
            np.zeros((0, *shape)),
            np.zeros((0, 3, functions)),
            np.zeros((0, intensity.COUNT)),
        )

    def fits(self, shape: Shape, functions: int) -> bool:
        """Whether all arrays have the same number of classes, and are on this grid."""
        count = len(self)
        return (
            self.image.shape == (count, *shape)
            and self.deformation.shape == (count, 3, functions)
            and self.grey.shape == (count, intensity.COUNT)
            and self.share.shape == (count,)
            and bool((self.share >= 0).all())
            and (count == 0 or abs(float(self.share.sum()) - 1.0) < 1e-3)
        )

    def pick(self, rng: np.random.Generator) -> int | None:
        """A random class, by its share; None, without using `rng`, if there are no classes."""
        if not len(self):
            return None
        return int(rng.choice(len(self), p=self.share / self.share.sum()))


def class_mean(mean: Array, shifts: Array, class_id: int | None) -> Array:
    """The mean [...] of one class, by its shift in [K, ...]; `mean` itself for any other class."""
    if class_id is None or not 0 <= class_id < len(shifts):
        return mean
    return np.asarray(mean + shifts[class_id])


@dataclass(frozen=True)
class ClassCode:
    """Code of one volume's features as a vector of norm at most `CLIP`.

    Attributes:
        count: number of classes K.
        layout: of the residual image.
        deformation: code of the displacement.
        parts: squared factors of count, image, displacement and grey values.
        weight: [X, Y, Z] of each voxel of the residual image.
    """

    count: int
    layout: Layout
    deformation: DeformationCode
    parts: tuple[float, float, float, float]
    weight: Array

    @classmethod
    def plan(
        cls, grid: Shape, basis: Basis, count: int, noise_std: float, absolute: bool = False
    ) -> ClassCode:
        """The code of K classes for a noise std of the vector; public, since it uses no data.

        absolute: grey values are absolute (CT), so volumes have no level of their own.
        """
        # Of the difference between one of K equally frequent classes and the mean.
        std_err = noise_std * np.sqrt(count * max(count - 1, 1))
        parts = ABSOLUTE_PARTS if absolute else RELATIVE_PARTS
        layout = Layout.plan(grid, std_err * IMAGE_CLIP / np.sqrt(parts[1]), REFINE_REACH)
        return cls(count, layout, DeformationCode(basis), parts, _centre_weight(grid))

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.layout.dimension, self.deformation.dimension, intensity.COUNT

    @property
    def dimension(self) -> int:
        return self.count * (1 + sum(self._sizes))

    def encode(
        self, class_id: int | None, residual: Array, deformation: Array, grey: Array
    ) -> Array:
        """[dimension] vector of a volume; zero without a class of these K.

        Args:
            class_id: of the volume.
            residual: [X, Y, Z] image in the template's frame, less the template.
            deformation: [3, F] displacement coefficients less their released mean.
            grey: [COUNT] quantile coefficients less the released ones.
        """
        rows = np.zeros((self.count, 1 + sum(self._sizes)))
        if class_id is not None and 0 <= class_id < self.count:
            count, *factors = np.sqrt(self.parts)
            image = self.layout.encode(self.weight * residual)
            blocks = (image, self.deformation.encode(deformation), grey)
            clipped = map(_clipped, blocks, _CLIPS)
            scaled = [factor * block for factor, block in zip(factors, clipped, strict=True)]
            rows[class_id] = np.concatenate([[count], *scaled])
        return rows.ravel()

    def decode(self, noisy: Array, noise_std: float) -> Classes:
        """Shares and shifts of a noisy vector, shrunk for its noise std."""
        rows = noisy.reshape(self.count, -1)
        count, *factors = np.sqrt(self.parts)
        shares = simplex(rows[:, 0] / count)
        features = rows[:, 1:]
        total = features.sum(axis=0)
        first, second, _ = self._sizes
        radial = radial_functions(self.layout.basis, self.weight)
        # A block without a part carries no information.
        units = [
            clip / factor if factor else 0.0 for clip, factor in zip(_CLIPS, factors, strict=True)
        ]
        images, deformations, greys = [], [], []
        for share, row in zip(shares, features, strict=True):
            measurable = share >= max(MIN_SHARE, noise_std / count)
            shift = row / share - total if measurable else np.zeros_like(row)
            std_err = self._std_err(share, noise_std)
            image, deformation, grey = np.split(shift, [first, first + second])
            images.append(self._image(image * units[0], std_err * units[0], radial))
            deformations.append(self.deformation.decode(deformation * units[1], std_err * units[1]))
            noise_var, prior_var = (std_err * units[2]) ** 2, intensity.VOLUME_STD**2
            shrinkage = prior_var / (prior_var + noise_var)
            greys.append(grey * units[2] * shrinkage)
        return Classes(shares, np.stack(images), np.stack(deformations), np.stack(greys))

    def _std_err(self, share: float, noise_std: float) -> float:
        """Standard error of a class's mean, less the sum over classes with the noise of all."""
        own = (1.0 / max(share, MIN_SHARE) - 1.0) ** 2
        return float(noise_std * np.sqrt(own + self.count - 1))

    def _image(self, noisy: Array, noise_std: float, functions: Array) -> Array:
        """[X, Y, Z] a class's image shift: its radial component, and the rest."""
        basis, std = self.layout.basis, noise_std / self.layout.weights
        values = noisy / self.layout.weights
        radial = radial_component(values, std, functions)
        rest = shrink(values - radial, std, basis.frequency)
        return np.asarray(basis.synthesise(radial + rest) / self.weight)


def _centre_weight(grid: Shape) -> Array:
    """[X, Y, Z] weight of each voxel: 1 at the centre, `FAR_WEIGHT` far from it."""
    bell = np.exp(-0.5 * (distance(grid) / RADIUS) ** 2)
    return np.asarray(FAR_WEIGHT + (1.0 - FAR_WEIGHT) * bell)


def _clipped(vector: Array, clip: float) -> Array:
    """The vector over `clip`, scaled to a norm of at most 1; 0 if it is not finite."""
    if not np.isfinite(vector).all():
        return np.zeros_like(vector)
    return np.asarray(vector / max(clip, float(np.linalg.norm(vector))))


def simplex(values: Array) -> Array:
    """The nearest point [K] of the probability simplex (Duchi et al. 2008, algorithm 1)."""
    descending = np.sort(values)[::-1]
    excess = (np.cumsum(descending) - 1.0) / np.arange(1, len(values) + 1)
    last = int(np.flatnonzero(descending > excess)[-1])
    return np.asarray(np.maximum(values - excess[last], 0.0))
