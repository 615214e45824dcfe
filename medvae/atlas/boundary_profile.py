"""Boundary profile: image values by signed distance from the boundary of all labels.

Imperfect registration blurs a mean image exactly where labels meet their surroundings, and a
network that learns from such pairs does not rely on the image. A profile is measured in each
patient's own frame, at the patient's own boundary, so nothing blurs it. It holds image values by
signed distance, and how they change with the boundary's direction (ventricles above, white matter
below). A sampled image then gets the released profile at its own sampled boundary.

Sensitivity. A volume's profile is a fixed function of that volume: least-squares coefficients of
its standardised image near the boundary, weighted by public powers. A patient's mean vector is
clipped to `CLIP`, so one patient changes the noisy mean by at most CLIP / N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medvae.atlas import distance_transform
from medvae.atlas.basis import Array, cosines
from medvae.atlas.features import standardise
from medvae.atlas.shrinkage import weights

Mask = npt.NDArray[np.uint8]

# Public: signed distances of a profile's knots, in voxels; linear in between.
KNOTS = np.array([-4.5, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.5, 6.5])
# One function of distance for all directions, and one for each spherical harmonic of degree 1 and
# 2 of the boundary's direction: the tissues to the left, to the right and above may all differ.
HARMONICS = 9
DIMENSION, FIRST_DIMENSION = HARMONICS * len(KNOTS), 4 * len(KNOTS)
# Public: expected mean square of each wave over the distance. A brighter or darker boundary, and a
# contrast between inside and outside, are equally likely; finer waves are less so.
POWER = 0.6 * np.minimum(1.0, 2.0 / (1.0 + np.arange(len(KNOTS)))) ** 2
EXPECTED = np.outer([1.0] + [0.5] * 3 + [0.25] * 5, POWER).ravel()
# Public: expected power of a sampled image's error, as a fraction of a profile's.
INNOVATION = 0.3
CLIP = float(np.sqrt(EXPECTED.sum()))
# Ridge of the least squares, in voxels.
RIDGE = 20.0
# Imposing a profile changes the image's std, in which profiles are measured, and fading withholds
# some of the correction: a second pass comes closer.
PASSES = 2
# Width of the outer rim in which a correction fades out, in voxels.
FADE = 2.0
WAVES = cosines(len(KNOTS), len(KNOTS)) / np.sqrt(len(KNOTS))
WEIGHTS = weights(EXPECTED)
# Squared distances between voxels are integers, so few distances occur. Functions of distance are
# tabulated for each of them, first for those outside, then for those inside.
SQUARES = int(np.ceil((KNOTS[-1] + 0.5) ** 2))
DISTANCES = np.concatenate([s * (np.sqrt(np.arange(SQUARES)) - 0.5) for s in (1.0, -1.0)])
AT_DISTANCE = np.stack([np.interp(DISTANCES, KNOTS, hat) for hat in np.eye(len(KNOTS))], 1) @ WAVES
FADING = np.clip((KNOTS[-1] - np.abs(DISTANCES)) / FADE, 0.0, 1.0)


@dataclass(frozen=True)
class Boundary:
    """The P voxels near a mask's boundary, and the profile's functions there.

    Each function is one of distance times one of direction, so sums over voxels reduce to sums
    over the few distances, without the [P, DIMENSION] matrix of all functions.

    Attributes:
        voxels: [P] flat indices into the volume.
        level: [P] indices into `DISTANCES`.
        harmonics: [HARMONICS - 1, P] spherical harmonics of the boundary's direction, each with
            mean square 1 over the sphere.
    """

    voxels: npt.NDArray[np.intp]
    level: npt.NDArray[np.intp]
    harmonics: Array

    def _sums(self, values: Array | None) -> Array:
        """[len(DISTANCES)] sums of values [P], or counts, of the voxels at each distance."""
        return np.bincount(self.level, values, minlength=len(DISTANCES)).astype(np.float64)

    @cached_property
    def _gram(self) -> Array:
        """[DIMENSION, DIMENSION] inner products of the functions, plus the ridge."""
        products = np.empty((HARMONICS, HARMONICS, len(DISTANCES)))
        products[0, 0] = self._sums(None)
        for a, first in enumerate(self.harmonics, 1):
            products[0, a] = products[a, 0] = self._sums(first)
            for b, second in enumerate(self.harmonics[:a], 1):
                products[a, b] = products[b, a] = self._sums(first * second)
        blocks = AT_DISTANCE.T @ (products[..., None] * AT_DISTANCE)
        gram = blocks.transpose(0, 2, 1, 3).reshape(DIMENSION, DIMENSION)
        return np.asarray(gram + RIDGE * np.eye(DIMENSION))

    def coefficients(self, values: Array) -> Array:
        """[DIMENSION] ridge least-squares coefficients of values [P]."""
        sums = [self._sums(values), *(self._sums(values * wave) for wave in self.harmonics)]
        return np.asarray(np.linalg.solve(self._gram, (np.stack(sums) @ AT_DISTANCE).ravel()))

    def correction(self, coefficients: Array) -> Array:
        """[P] sum of the functions, faded out in the outer rim.

        Without fading, the end of the profile would show as an edge inside thick labels.
        """
        rows = coefficients.reshape(HARMONICS, -1) @ AT_DISTANCE.T * FADING
        total = rows[0][self.level]
        for wave, row in zip(self.harmonics, rows[1:], strict=True):
            total += wave * row[self.level]
        return np.asarray(total)


def weighted_profile(image: npt.NDArray[np.floating], mask: Mask) -> Array:
    """[DIMENSION] weighted profile of an image [X, Y, Z]; 0 if the mask has no boundary."""
    boundary = boundary_of(mask)
    if boundary is None:
        return np.zeros(DIMENSION)
    return WEIGHTS * boundary.coefficients(standardise(image).ravel()[boundary.voxels])


def estimate(noisy: Array, noise_std: float) -> Array:
    """[2, DIMENSION] the profile without weights, and its posterior weight in [0, 1].

    A sampled image has a profile of its own, which is the better estimate under strong noise. The
    posterior weight is the fraction of their difference that noise does not explain.
    """
    innovation = INNOVATION * EXPECTED
    noise_var = (noise_std / WEIGHTS) ** 2
    return np.stack([noisy / WEIGHTS, innovation / (innovation + noise_var)])


def impose(image: npt.NDArray[np.floating], boundary: Boundary | None, profile: Array) -> Array:
    """The image [X, Y, Z] with the profile of `estimate` along a boundary.

    Profiles are in units of the image's own std. Only voxels within the reach of the knots
    change, by a smooth function of distance and direction; texture and variation along the
    boundary stay. An image without contrast, or without a boundary, is returned unchanged.
    """
    # C order makes the flattened array a view.
    values = np.array(image, dtype=np.float64, order="C")
    if boundary is None:
        return values
    target, posterior_weight = profile
    flat = values.reshape(-1)
    for _ in range(PASSES):
        mean, std = float(values.mean()), float(values.std())
        if not std > 1e-6:
            break
        own = boundary.coefficients((flat[boundary.voxels] - mean) / std)
        flat[boundary.voxels] += std * boundary.correction(posterior_weight * (target - own))
    return values


def boundary_of(mask: Mask) -> Boundary | None:
    """The boundary of all labels of a mask [X, Y, Z]; None if there is none."""
    surroundings = distance_transform.near_boundary(mask > 0)
    if surroundings is None:
        return None
    box, inside, squares = surroundings
    near = np.flatnonzero(squares < SQUARES)
    x, y, z = (np.arange(n)[extent] for n, extent in zip(mask.shape, box, strict=True))
    flat = (x[:, None, None] * mask.shape[1] + y[:, None]) * mask.shape[2] + z
    direction = np.stack([part.take(near) for part in distance_transform.gradient(inside, squares)])
    lengths = np.sqrt(np.einsum("ap,ap->p", direction, direction))
    direction /= lengths + 1e-6
    level = squares.take(near).astype(np.intp)
    level += SQUARES * inside.take(near)
    return Boundary(flat.take(near), level, _spherical_harmonics(*direction))


def _spherical_harmonics(x: Array, y: Array, z: Array) -> Array:
    """[HARMONICS - 1, P] real spherical harmonics of degree 1 and 2 of unit vectors."""
    linear = [np.sqrt(3.0) * axis for axis in (x, y, z)]
    crossed = [np.sqrt(15.0) * a * b for a, b in ((x, y), (y, z), (z, x))]
    squared = [np.sqrt(1.25) * (3.0 * x**2 - 1.0), np.sqrt(3.75) * (y**2 - z**2)]
    return np.stack([*linear, *crossed, *squared])
