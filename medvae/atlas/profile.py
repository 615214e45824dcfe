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

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas.basis import Array, cosines
from medvae.atlas.features import standardise
from medvae.atlas.statistics import weights

Mask = npt.NDArray[np.uint8]

# Public: voxels from the border at which the profile is told; straight lines between.
KNOTS = np.array([-4.5, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.5, 6.5])
# One function of distance for all directions, and one for each axis the border may face.
FACES = 4
DIMENSION = FACES * len(KNOTS)
# Public: the mean square that each wave over the distance is expected to have. All of the
# border brighter or darker, and inside against outside, are as likely; finer things are less.
POWER = 0.6 * np.minimum(1.0, 2.0 / (1.0 + np.arange(len(KNOTS)))) ** 2
EXPECTED = np.outer([1.0, 0.5, 0.5, 0.5], POWER).ravel()
# Public: the part of a profile's power in which a drawn image is expected to be wrong.
SURPRISE = 0.3
CLIP = float(np.sqrt(EXPECTED.sum()))
# So many voxels' worth of doubt about each coefficient of one image.
RIDGE = 20.0
# Voxels over which what is imposed ends.
FADE = 2.0
# Blur of the distance before its slope is called the border's direction, in voxels.
FACING_BLUR = 1.0

WAVES = cosines(len(KNOTS), len(KNOTS)) / np.sqrt(len(KNOTS))
WEIGHTS = weights(EXPECTED)


def describe(image: npt.NDArray[np.floating], mask: Mask) -> Array:
    """[DIMENSION] weighted profile of an image [X, Y, Z]; 0 where the mask has no border."""
    border = _border(mask)
    if border is None:
        return np.zeros(DIMENSION)
    near, functions, _ = border
    return WEIGHTS * _coefficients(standardise(image)[near], functions)


def believe(released: Array, noise: float) -> Array:
    """[2, DIMENSION]: the released profile, unweighted, and how far to believe it (0 to 1).

    A drawn image has a profile of its own, which is the better guess where noise is strong:
    what is believed is the part of their difference that noise does not explain.
    """
    surprise = SURPRISE * EXPECTED
    return np.stack([released / WEIGHTS, surprise / (surprise + (noise / WEIGHTS) ** 2)])


def impose(image: npt.NDArray[np.floating], mask: Mask, believed: Array) -> Array:
    """The image with the profile of `believe` along the border of its mask.

    In units of the deviation that the image has on entry. Only what lies within the knots'
    reach changes, by a smooth function of distance and direction; texture, and all that
    differs along the border, stay. Without contrast or border the image is returned as it is.
    """
    border = _border(mask)
    standard = standardise(image)
    if border is None or not standard.any():
        return np.asarray(image, dtype=np.float64)
    near, functions, fade = border
    wanted, trust = believed
    own = _coefficients(standard[near], functions)
    standard[near] += fade * (functions @ (trust * (wanted - own)))
    values = np.asarray(image, dtype=np.float64)
    return np.asarray(values.mean() + values.std() * standard)


def _coefficients(values: Array, functions: Array) -> Array:
    """[DIMENSION] ridge least squares of values [P] in functions [P, DIMENSION]."""
    gram = functions.T @ functions + RIDGE * np.eye(functions.shape[1])
    return np.asarray(np.linalg.solve(gram, functions.T @ values))


def _border(mask: Mask) -> tuple[npt.NDArray[np.bool_], Array, Array] | None:
    """Which voxels are near the border, the profile's functions there, and a fade to 0.

    What is imposed must end gently, or the reach shows as an edge inside of thick labels.
    """
    inside = mask > 0
    if not inside.any() or inside.all():
        return None
    within = ndimage.distance_transform_edt(inside)
    beyond = ndimage.distance_transform_edt(~inside)
    distance = np.where(inside, 0.5 - within, beyond - 0.5)
    near = np.abs(distance) < KNOTS[-1]
    slope = np.stack(np.gradient(ndimage.gaussian_filter(distance, FACING_BLUR)))
    slope /= np.sqrt((slope**2).sum(axis=0)) + 1e-6
    # Each direction's component has a mean square of 1 over a sphere.
    faces = np.stack([np.ones(near.sum()), *(np.sqrt(3.0) * s[near] for s in slope)], axis=1)
    hats = np.stack([np.interp(distance[near], KNOTS, one) for one in np.eye(len(KNOTS))], axis=1)
    functions = faces[:, :, None] * (hats @ WAVES)[:, None, :]
    fade = np.clip((KNOTS[-1] - np.abs(distance[near])) / FADE, 0.0, 1.0)
    return near, functions.reshape(len(functions), DIMENSION), fade
