"""What an image does across the border of its labels: a profile along the distance to it.

A mean over patients that are not perfectly in step is blurred just where labels meet their
surroundings, and what is learnt from such pairs does not trust the image. The profile is
measured in each patient's own frame, by the patient's own border, so nothing blurs it: image
values by signed distance, for all of the border and for how it changes with the border's
direction (ventricles above, white matter below). A drawn image is then given the released
profile along its own drawn border.

Sensitivity. A volume's profile is a fixed function of that volume: the least-squares
coefficients of its standardised image near the border, weighted by public powers. The mean
over a patient's volumes is clipped to `CLIP`, so the released mean moves by at most CLIP / N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medvae.atlas import nearness
from medvae.atlas.basis import Array, cosines
from medvae.atlas.features import standardise
from medvae.atlas.statistics import weights

Mask = npt.NDArray[np.uint8]

# Public: voxels from the border at which the profile is told; straight lines between.
KNOTS = np.array([-4.5, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.5, 6.5])
# One function of distance for all directions, and one for each spherical harmonic of degree 1 and
# 2 of the direction that the border faces: what lies to the left may be another tissue than what
# lies to the right, and both another than what lies above.
FACES = 9
DIMENSION, FIRST_DIMENSION = FACES * len(KNOTS), 4 * len(KNOTS)
# Public: the mean square that each wave over the distance is expected to have. All of the
# border brighter or darker, and inside against outside, are as likely; finer things are less.
POWER = 0.6 * np.minimum(1.0, 2.0 / (1.0 + np.arange(len(KNOTS)))) ** 2
EXPECTED = np.outer([1.0] + [0.5] * 3 + [0.25] * 5, POWER).ravel()
# Public: the part of a profile's power in which a drawn image is expected to be wrong.
SURPRISE = 0.3
CLIP = float(np.sqrt(EXPECTED.sum()))
# So many voxels' worth of doubt about each coefficient of one image.
RIDGE = 20.0
# What is imposed changes the deviation that a profile is told in, and its fading withholds some
# of it: once more comes nearer.
PASSES = 2
# Voxels over which what is imposed ends.
FADE = 2.0
WAVES = cosines(len(KNOTS), len(KNOTS)) / np.sqrt(len(KNOTS))
WEIGHTS = weights(EXPECTED)
# Squared distances between voxels are whole numbers, so few distances occur: what depends on
# the distance alone is told for each of them, first those outside and then those inside.
SQUARES = int(np.ceil((KNOTS[-1] + 0.5) ** 2))
DISTANCES = np.concatenate([s * (np.sqrt(np.arange(SQUARES)) - 0.5) for s in (1.0, -1.0)])
AT_DISTANCE = np.stack([np.interp(DISTANCES, KNOTS, hat) for hat in np.eye(len(KNOTS))], 1) @ WAVES
FADING = np.clip((KNOTS[-1] - np.abs(DISTANCES)) / FADE, 0.0, 1.0)


@dataclass(frozen=True)
class Border:
    """The voxels near a mask's border, P of them, and the profile's functions there.

    A function is one of distance times one of direction, so sums over voxels are sums over
    the few distances: the [P, DIMENSION] matrix of all functions is never made.

    Attributes:
        where: [P] flat indices into the volume.
        level: [P] index into `DISTANCES`.
        facing: [FACES - 1, P] harmonics of the border's direction; each has a mean square of 1
            over a sphere.
    """

    where: npt.NDArray[np.intp]
    level: npt.NDArray[np.intp]
    facing: Array

    def _summed(self, values: Array | None) -> Array:
        """[len(DISTANCES)] sums of values [P], or of ones, over the voxels of each distance."""
        return np.bincount(self.level, values, minlength=len(DISTANCES)).astype(np.float64)

    @cached_property
    def _gram(self) -> Array:
        """[DIMENSION, DIMENSION] products of the functions, with the ridge."""
        products = np.empty((FACES, FACES, len(DISTANCES)))
        products[0, 0] = self._summed(None)
        for a, one in enumerate(self.facing, 1):
            products[0, a] = products[a, 0] = self._summed(one)
            for b, other in enumerate(self.facing[:a], 1):
                products[a, b] = products[b, a] = self._summed(one * other)
        blocks = AT_DISTANCE.T @ (products[..., None] * AT_DISTANCE)
        gram = blocks.transpose(0, 2, 1, 3).reshape(DIMENSION, DIMENSION)
        return np.asarray(gram + RIDGE * np.eye(DIMENSION))

    def coefficients(self, values: Array) -> Array:
        """[DIMENSION] ridge least squares of values [P] in the functions."""
        sums = [self._summed(values), *(self._summed(values * one) for one in self.facing)]
        return np.asarray(np.linalg.solve(self._gram, (np.stack(sums) @ AT_DISTANCE).ravel()))

    def fading(self, coefficients: Array) -> Array:
        """[P] the functions' sum, which ends gently.

        Otherwise the reach would show as an edge inside of thick labels.
        """
        faces = coefficients.reshape(FACES, -1) @ AT_DISTANCE.T * FADING
        total = faces[0][self.level]
        for one, face in zip(self.facing, faces[1:], strict=True):
            total += one * face[self.level]
        return np.asarray(total)


def describe(image: npt.NDArray[np.floating], mask: Mask) -> Array:
    """[DIMENSION] weighted profile of an image [X, Y, Z]; 0 where the mask has no border."""
    border = border_of(mask)
    if border is None:
        return np.zeros(DIMENSION)
    return WEIGHTS * border.coefficients(standardise(image).ravel()[border.where])


def believe(released: Array, noise: float) -> Array:
    """[2, DIMENSION]: the released profile, unweighted, and how far to believe it (0 to 1).

    A drawn image has a profile of its own, which is the better guess where noise is strong:
    what is believed is the part of their difference that noise does not explain.
    """
    surprise = SURPRISE * EXPECTED
    return np.stack([released / WEIGHTS, surprise / (surprise + (noise / WEIGHTS) ** 2)])


def impose(image: npt.NDArray[np.floating], mask: Mask, believed: Array) -> Array:
    """The image with the profile of `believe` along the border of its mask."""
    return impose_along(image, border_of(mask), believed)


def impose_along(image: npt.NDArray[np.floating], border: Border | None, believed: Array) -> Array:
    """The image with the profile of `believe` along a border.

    In units of the image's own deviation. Only what lies within the knots'
    reach changes, by a smooth function of distance and direction; texture, and all that
    differs along the border, stay. Without contrast or border the image is returned as it is.
    """
    # In C order, so that what is flattened below is a view.
    values = np.array(image, dtype=np.float64, order="C")
    if border is None:
        return values
    wanted, trust = believed
    flat = values.reshape(-1)
    for _ in range(PASSES):
        mean, deviation = float(values.mean()), float(values.std())
        if not deviation > 1e-6:
            break
        own = border.coefficients((flat[border.where] - mean) / deviation)
        flat[border.where] += deviation * border.fading(trust * (wanted - own))
    return values


def border_of(mask: Mask) -> Border | None:
    """Where the border of all labels is and which way it faces; None where there is none."""
    found = nearness.around(mask > 0)
    if found is None:
        return None
    box, inside, squares = found
    within = np.flatnonzero(squares < SQUARES)
    x, y, z = (np.arange(n)[part] for n, part in zip(mask.shape, box, strict=True))
    whole = (x[:, None, None] * mask.shape[1] + y[:, None]) * mask.shape[2] + z
    facing = np.stack([part.take(within) for part in nearness.slope(inside, squares)])
    lengths = np.sqrt(np.einsum("ap,ap->p", facing, facing))
    facing /= lengths + 1e-6
    level = squares.take(within).astype(np.intp)
    level += SQUARES * inside.take(within)
    return Border(whole.take(within), level, _harmonics(*facing))


def _harmonics(x: Array, y: Array, z: Array) -> Array:
    """[FACES - 1, P] real spherical harmonics of degree 1 and 2 of directions."""
    linear = [np.sqrt(3.0) * axis for axis in (x, y, z)]
    crossed = [np.sqrt(15.0) * a * b for a, b in ((x, y), (y, z), (z, x))]
    squared = [np.sqrt(1.25) * (3.0 * x**2 - 1.0), np.sqrt(3.75) * (y**2 - z**2)]
    return np.stack([*linear, *crossed, *squared])
