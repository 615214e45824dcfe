"""Where in a public volume a cohort's grid lies: a window, or a similarity found by labels.

Post-processing of released numbers and public anatomy: costs no privacy. A public template is
rarely of the cohort's size (MNI152 is a fifth larger than most heads) and its axes are not
those of an oblique crop, so a window alone would leave large displacements to every patient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, signal
from scipy.spatial.transform import Rotation

from medvae.atlas.basis import Array, Shape
from medvae.atlas.displacement import identity, sample

Values = npt.NDArray[np.generic]

# Windows are searched on every second voxel, both sides blurred by two.
BLUR, STEP = 2.0, 2
# Steps to either side that a label's released middle may be off.
SLACK = 3
# Public deviations of a similarity: log of the scale, turns (radians), shifts (voxels). It is
# weighed against likenesses of at most 1, of sides blurred by so many voxels.
SCALE, TURN, SHIFT = 0.15, 0.2, 3.0
PRIOR, SIMILAR_BLUR = 0.02, 1.5
# Of separate groups of labels, such as left and right, so many of the largest are looked at.
MOST_GROUPS = 8
# How much larger or smaller than the cohort's a public volume's labels may be.
RESCALE = 1.6


def window(mean: Array, public: Array) -> tuple[tuple[slice, ...], float]:
    """The window of `public` that is most like the mean, and its correlation with it."""
    score = _likeness(mean, public)
    best = np.array(np.unravel_index(int(score.argmax()), score.shape)) * STEP
    corner = np.minimum(best, np.array(public.shape) - mean.shape)
    return _slices(corner, mean.shape), float(score.max())


def by_labels(
    mean: Array, labels: npt.NDArray[np.bool_], public: Array, public_labels: Array
) -> tuple[Array, Array] | None:
    """Public image and labels [X, Y, Z] on the grid, by a similarity; None where none fits.

    The public volume is scaled until a label of its (of several separate ones, each in turn: left
    and right) is as large as the cohort's, laid on it, and moved until images correlate and
    labels overlap best.

    Args:
        mean: [X, Y, Z] released image.
        labels: [X, Y, Z] bool, where labels lie by what was released of them.
        public, public_labels: [A, B, C].
    """
    _, sizes = _groups(public_labels > 0)
    if not len(sizes):
        return None
    usual = float(sizes[sizes > sizes.max() / 2].mean())
    factor = float(np.clip(np.cbrt(labels.sum() / usual), 1.0 / RESCALE, RESCALE))
    image = np.asarray(ndimage.zoom(public, factor, order=1))
    there = np.asarray(ndimage.zoom(public_labels, factor, order=0))
    if any(have < want for have, want in zip(image.shape, mean.shape, strict=True)):
        return None
    beyond = _beyond(there > 0, labels)
    image, there = np.pad(image, beyond, mode="edge"), np.pad(there, beyond)
    corner = _meeting(_likeness(mean, image), there > 0, labels)
    if corner is None:
        return None
    margin = max(mean.shape) // 2
    low = np.maximum(corner - margin, 0)
    high = np.minimum(corner + mean.shape + margin, image.shape)
    around = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    middle = corner - low + (np.array(mean.shape) - 1) / 2.0
    where = _similarity(mean, labels, image[around], there[around] > 0, middle)
    laid = ndimage.map_coordinates(there[around], where, order=0, mode="nearest")
    if not (laid > 0).any():
        return None
    return ndimage.map_coordinates(image[around], where, order=3, mode="nearest"), laid


def _beyond(there: npt.NDArray[np.bool_], here: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """How much a public volume lacks on each side for the grid to be laid on any of its labels.

    They may lie nearer to its edge than the cohort's to the grid's; what it does not show is then
    as it is at its edge.
    """
    marked = np.argwhere(there)
    if not len(marked):
        return [(0, 0)] * 3
    middle, reach = np.argwhere(here).mean(axis=0), SLACK * STEP + 1
    low = np.ceil(middle + reach - marked.min(axis=0))
    after = np.array(there.shape) - 1 - marked.max(axis=0)
    high = np.ceil(np.array(here.shape) - middle + reach - after)
    return [(max(0, int(a)), max(0, int(b))) for a, b in zip(low, high, strict=True)]


def _groups(
    labels: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Separate groups of voxels, numbered from 1, and the size of each."""
    groups, _ = ndimage.label(labels)
    return groups, np.bincount(groups.ravel())[1:]


def _slices(corner: Array, shape: Shape) -> tuple[slice, ...]:
    return tuple(slice(int(c), int(c) + n) for c, n in zip(corner, shape, strict=True))


def _likeness(mean: Array, public: Array) -> Array:
    """Correlation of the mean with the window of `public` at every `STEP`-th corner."""
    thin = (slice(None, None, STEP),) * 3
    kernel = ndimage.gaussian_filter(mean, 0.5)[thin]
    kernel = kernel - kernel.mean()
    smooth = ndimage.gaussian_filter(public, BLUR)[thin]
    score = signal.fftconvolve(smooth, kernel[::-1, ::-1, ::-1], mode="valid") / kernel.size
    spread = np.sqrt(np.maximum(_window_variance(smooth, kernel.shape), 1e-4))
    return np.asarray(score / (spread * max(float(kernel.std()), 1e-9)))


def _window_variance(values: Array, window: Shape) -> Array:
    """Variance over each full window of the volume ("valid" placements)."""
    ones = np.ones(window) / np.prod(window)
    mean = signal.fftconvolve(values, ones, mode="valid")
    return np.asarray(signal.fftconvolve(values**2, ones, mode="valid") - mean**2)


def _meeting(
    score: Array, there: npt.NDArray[np.bool_], here: npt.NDArray[np.bool_]
) -> Array | None:
    """[3] the window's corner where image and labels together are most alike.

    Only around places where the middle of a group of labels meets the middle of those here.
    """
    groups, sizes = _groups(there)
    kept = [int(k) + 1 for k in np.argsort(-sizes)[:MOST_GROUPS] if 4 * sizes[k] >= here.sum()]
    middle = np.argwhere(here).mean(axis=0)
    best, found = -np.inf, None
    for own in ndimage.center_of_mass(there, groups, kept):
        first = np.round(own - middle).astype(int)
        for shift in np.ndindex(*(2 * SLACK + 1,) * 3):
            corner = first + STEP * (np.array(shift) - SLACK)
            if (corner < 0).any() or (corner + here.shape > there.shape).any():
                continue
            place = tuple(np.minimum(corner // STEP, np.array(score.shape) - 1))
            alike = score[place] + _overlap(there[_slices(corner, here.shape)], here)
            if alike > best:
                best, found = float(alike), corner
    return found


def _similarity(
    mean: Array, labels: Values, public: Array, public_labels: Values, middle: Array
) -> Array:
    """[3, X, Y, Z] where in the public volume each voxel of the grid lies.

    Maximises the correlation of images plus the overlap of labels (Powell 1964).

    middle: [3] the grid's middle in the public volume, as a first guess.
    """
    centre = ((np.array(mean.shape) - 1) / 2.0).reshape(3, 1, 1, 1)
    thin = (slice(STEP // 2, None, STEP),) * 3
    whole = identity(mean.shape) - centre
    places = whole[:, *thin]
    wanted = _blurred(mean)[thin]
    inside = _blurred(labels)[thin]
    source = np.stack([_blurred(public), _blurred(public_labels)]).astype(np.float32)
    unit = np.array([SCALE, *[TURN] * 3, *[SHIFT] * 3])

    def cost(steps: Array) -> float:
        image, shape = sample(source, _moved(places, steps * unit, middle))
        alike = _correlation(image, wanted) + _overlap(shape, inside)
        return PRIOR * float((steps**2).sum()) - alike

    best = optimize.minimize(cost, np.zeros(7), method="Powell", options={"maxfev": 1500})
    return _moved(whole, best.x * unit, middle)


def _blurred(values: Values) -> Array:
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float64), SIMILAR_BLUR))


def _overlap(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float:
    """Dice of two sets, or of what is left of them after a blur."""
    return 2.0 * float(np.minimum(one, two).sum()) / max(float(one.sum() + two.sum()), 1e-9)


def _correlation(one: Array, two: Array) -> float:
    """0 where either is the same everywhere, as a mean is that noise has drowned."""
    a, b = one - one.mean(), two - two.mean()
    strength = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / strength if strength > 1e-12 else 0.0


def _moved(places: Array, motion: Array, middle: Array) -> Array:
    """Places [3, ...] around the grid's middle, scaled, turned, and laid in the public volume."""
    turned = np.exp(motion[0]) * Rotation.from_rotvec(motion[1:4]).as_matrix()
    moved = np.einsum("ij,j...->i...", turned, places)
    return np.asarray(moved + (middle + motion[4:]).reshape(3, 1, 1, 1))
