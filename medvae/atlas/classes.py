"""What is different about patients of one class: one release, and shifts made from it.

Per volume of class k, the vector is onehot(k) (x) [1, f] with f of three blocks: residual image
coefficients in the template's frame (weighed by place), low-frequency displacement coefficients
around the released mean, and quantile coefficients less the released ones. Sizes of labels need
no block of their own: registration puts them into the displacements.

Sensitivity. Each block of a volume is scaled to a norm of at most 1 and the parts below add
up to 1 in squares, so a volume's vector has a norm of at most CLIP = 1 by construction, and so
has the mean over a patient's volumes, whatever their classes: the release, over the public N,
moves by at most CLIP / N when a patient becomes zero. Blocks are cut one by one so that the
count next to them is never scaled. A volume without a class counts as zero.

All that follows the release is post-processing: the counts are projected onto the simplex, a
class's features less everybody's are shrunk for their noise (`statistics.shrink`), the part of an
image that is the same all round by itself (`radial`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvae.atlas import intensity, radial
from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.motion import MotionCode
from medvae.atlas.statistics import shrink
from medvae.atlas.template import REFINE_REACH, Layout

CLIP = 1.0
# Public: parts of a vector's squared norm, where grey values are of each volume's own and (CT)
# where they are absolute: count, image, motion, grey.
PARTS, CT_PARTS = (0.05, 0.55, 0.2, 0.2), (0.05, 0.7, 0.25, 0.0)
# Public: where each block is cut off; norms of a typical volume's.
IMAGE_CUT, MOTION_CUT, GREY_CUT = 0.25, 1.0, 0.25
# Public: a crop is round what is studied, so differences count most in its middle: the weight far
# from it, and the radius that it falls off by, in parts of the longest side.
FAR, RADIUS = 0.3, 0.25
_CUTS = (IMAGE_CUT, MOTION_CUT, GREY_CUT)
# Public: below this share of the patients nothing is said of a class but its share.
LEAST = 0.02


@dataclass(frozen=True)
class Classes:
    """K classes: how often each is, and how it differs from the mean over all of them.

    Attributes:
        share: [K] of the patients; adds up to 1.
        image: [K, X, Y, Z] added to the template's standardised image.
        motion: [K, 3, F] added to the mean displacement coefficients, voxels.
        grey: [K, COUNT] added to the mean quantile coefficients.
    """

    share: Array
    image: Array
    motion: Array
    grey: Array

    def __len__(self) -> int:
        return len(self.share)

    @classmethod
    def none(cls, shape: Shape, functions: int) -> Classes:
        """No classes at all, on a grid with so many displacement functions."""
        return cls(
            np.zeros(0),
            np.zeros((0, *shape)),
            np.zeros((0, 3, functions)),
            np.zeros((0, intensity.COUNT)),
        )

    def fit(self, shape: Shape, functions: int) -> bool:
        """Whether all arrays are of one number of classes, on this grid."""
        count = len(self)
        return (
            self.image.shape == (count, *shape)
            and self.motion.shape == (count, 3, functions)
            and self.grey.shape == (count, intensity.COUNT)
            and self.share.shape == (count,)
            and bool((self.share >= 0).all())
            and (count == 0 or abs(float(self.share.sum()) - 1.0) < 1e-3)
        )

    def pick(self, rng: np.random.Generator) -> int | None:
        """A class, as often as released; None, and nothing drawn, without classes."""
        if not len(self):
            return None
        return int(rng.choice(len(self), p=self.share / self.share.sum()))


def shifted(mean: Array, shifts: Array, category: int | None) -> Array:
    """The mean of one class: `mean` [...] itself where it is of none of `shifts` [K, ...]."""
    if category is None or not 0 <= category < len(shifts):
        return mean
    return np.asarray(mean + shifts[category])


@dataclass(frozen=True)
class ClassCode:
    """One volume's features as a vector of norm at most `CLIP`, and the way back."""

    count: int
    layout: Layout
    motion: MotionCode
    parts: tuple[float, float, float, float]
    weight: Array

    @classmethod
    def plan(
        cls, grid: Shape, basis: Basis, count: int, noise: float, absolute: bool = False
    ) -> ClassCode:
        """For K classes and a vector noise deviation; public, for it sees no data.

        absolute: grey values are of CT, and there is nothing to say of each volume's own.
        """
        # Of the difference between one of K equally frequent classes and the mean.
        doubt = noise * np.sqrt(count * max(count - 1, 1))
        parts = CT_PARTS if absolute else PARTS
        layout = Layout.plan(grid, doubt * IMAGE_CUT / np.sqrt(parts[1]), REFINE_REACH)
        return cls(count, layout, MotionCode(basis), parts, _middle(grid))

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.layout.dimension, self.motion.dimension, intensity.COUNT

    @property
    def dimension(self) -> int:
        return self.count * (1 + sum(self._sizes))

    def encode(self, category: int | None, residual: Array, motion: Array, grey: Array) -> Array:
        """[dimension] from residual image [X, Y, Z], displacement [3, F], quantiles [COUNT].

        All of them as differences from what was released; zero without a class of these K.
        """
        rows = np.zeros((self.count, 1 + sum(self._sizes)))
        if category is not None and 0 <= category < self.count:
            count, *roots = np.sqrt(self.parts)
            weighed = self.layout.encode(self.weight * residual)
            blocks = zip(roots, (weighed, self.motion.encode(motion), grey), _CUTS, strict=True)
            rows[category] = np.concatenate(
                [[count], *(root * _within(block, cut) for root, block, cut in blocks)]
            )
        return rows.ravel()

    def decode(self, released: Array, noise: float) -> Classes:
        """Shares and shifts, shrunk for the noise deviation of the released vector."""
        rows = released.reshape(self.count, -1)
        count, *roots = np.sqrt(self.parts)
        share = simplex(rows[:, 0] / count)
        features = rows[:, 1:]
        everybody = features.sum(axis=0)
        first, second, _ = self._sizes
        radially = radial.design(self.layout.basis, self.weight)
        images, motions, greys = [], [], []
        for own, row in zip(share, features, strict=True):
            # The class's mean less everybody's, and how far noise carries that.
            known = own >= max(LEAST, noise / count)
            shift = row / own - everybody if known else np.zeros_like(row)
            doubt = noise * np.sqrt((1.0 / max(own, LEAST) - 1.0) ** 2 + self.count - 1)
            image, motion, grey = np.split(shift, [first, first + second])
            # A block without a part says nothing.
            unit = [cut / root if root else 0.0 for cut, root in zip(_CUTS, roots, strict=True)]
            images.append(self._image(image * unit[0], doubt * unit[0], radially))
            motions.append(self.motion.decode(motion * unit[1], doubt * unit[1]))
            trust = intensity.BETWEEN**2 / (intensity.BETWEEN**2 + (doubt * unit[2]) ** 2)
            greys.append(grey * unit[2] * trust)
        return Classes(share, np.stack(images), np.stack(motions), np.stack(greys))

    def _image(self, released: Array, noise: float, functions: Array) -> Array:
        """[X, Y, Z] a class's image shift: what is the same all round, and the rest."""
        basis, each = self.layout.basis, noise / self.layout.weights
        values = released / self.layout.weights
        round_ = radial.explained(values, each, functions)
        rest = shrink(values - round_, each, basis.frequency)
        return np.asarray(basis.synthesise(round_ + rest) / self.weight)


def _middle(grid: Shape) -> Array:
    """[X, Y, Z] the weight of each voxel, 1 in the middle and `FAR` far from it."""
    return FAR + (1.0 - FAR) * np.exp(-0.5 * (radial.distance(grid) / RADIUS) ** 2)


def _within(vector: Array, cut: float) -> Array:
    """The vector in units of `cut`, scaled to a norm of at most 1; 0 where it is not finite."""
    if not np.isfinite(vector).all():
        return np.zeros_like(vector)
    return np.asarray(vector / max(cut, float(np.linalg.norm(vector))))


def simplex(values: Array) -> Array:
    """The nearest point [K] of the probability simplex (Duchi et al. 2008, algorithm 1)."""
    falling = np.sort(values)[::-1]
    excess = (np.cumsum(falling) - 1.0) / np.arange(1, len(values) + 1)
    kept = int(np.flatnonzero(falling > excess)[-1])
    return np.asarray(np.maximum(values - excess[kept], 0.0))
