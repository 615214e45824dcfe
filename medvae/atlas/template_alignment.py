"""Align a public volume with a cohort's grid: by a window, or by a similarity transform of labels.

Post-processing of released numbers and public anatomy: costs no privacy. A public template rarely
has the cohort's size (MNI152 is a fifth larger than most heads) and its axes are not those of an
oblique crop, so a window alone would leave large displacements to every patient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, signal
from scipy.spatial.transform import Rotation

from medvae.atlas.basis import Array, Shape
from medvae.atlas.displacement import identity, interpolate

Values = npt.NDArray[np.generic]

# Windows are searched at every second voxel, with both images blurred by two voxels.
WINDOW_BLUR, STEP = 2.0, 2
# Steps to either side by which a label's released centroid may be wrong.
CENTROID_STEPS = 3
# Public: std of a similarity's log scale, rotations (radians) and shifts (voxels).
SCALE_STD, ROTATION_STD, SHIFT_STD = 0.15, 0.2, 3.0
# Weight of this prior against the similarity measures (each at most 1), and the blur of both
# images, in voxels.
PRIOR_WEIGHT, SIMILARITY_BLUR = 0.02, 1.5
# Of separate components of labels, such as left and right, this many of the largest are tried.
MAX_COMPONENTS = 8
# Largest factor between the sizes of the public volume's labels and the cohort's.
MAX_RESCALE = 1.6


def best_window(mean: Array, public: Array) -> tuple[tuple[slice, ...], float]:
    """The window of `public` that correlates best with the mean, and this correlation."""
    ncc = _ncc_map(mean, public)
    best = np.array(np.unravel_index(int(ncc.argmax()), ncc.shape)) * STEP
    corner = np.minimum(best, np.array(public.shape) - mean.shape)
    return _window(corner, mean.shape), float(ncc.max())


def align_by_labels(
    mean: Array, labels: npt.NDArray[np.bool_], public: Array, public_labels: Array
) -> tuple[Array, Array] | None:
    """Public image and labels [X, Y, Z] resampled on the grid by a similarity; None if none fits.

    The public volume is scaled until one of its labels' components (each in turn, such as left and
    right) is as large as the cohort's labels. Then it is moved to where images correlate and
    labels overlap best.

    Args:
        mean: [X, Y, Z] released image.
        labels: [X, Y, Z] bool, labels of the released moments.
        public, public_labels: [A, B, C].
    """
    _, sizes = _components(public_labels > 0)
    if not len(sizes):
        return None
    typical = float(sizes[sizes > sizes.max() / 2].mean())
    scale = float(np.clip(np.cbrt(labels.sum() / typical), 1.0 / MAX_RESCALE, MAX_RESCALE))
    image = np.asarray(ndimage.zoom(public, scale, order=1))
    marked = np.asarray(ndimage.zoom(public_labels, scale, order=0))
    if any(side < needed for side, needed in zip(image.shape, mean.shape, strict=True)):
        return None
    margins = _margins(marked > 0, labels)
    image, marked = np.pad(image, margins, mode="edge"), np.pad(marked, margins)
    corner = _similarity_init(_ncc_map(mean, image), marked > 0, labels)
    if corner is None:
        return None
    margin = max(mean.shape) // 2
    low = np.maximum(corner - margin, 0)
    high = np.minimum(corner + mean.shape + margin, image.shape)
    crop = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    centre = corner - low + (np.array(mean.shape) - 1) / 2.0
    points = _fit_similarity(mean, labels, image[crop], marked[crop] > 0, centre)
    aligned = ndimage.map_coordinates(marked[crop], points, order=0, mode="nearest")
    if not (aligned > 0).any():
        return None
    return ndimage.map_coordinates(image[crop], points, order=3, mode="nearest"), aligned


def _margins(public: npt.NDArray[np.bool_], cohort: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Voxels to add on each side so that the grid fits around any of the public labels.

    Labels may be nearer to the public volume's edge than the cohort's are to the grid's. The added
    voxels repeat the edge.
    """
    marked = np.argwhere(public)
    if not len(marked):
        return [(0, 0)] * 3
    centroid, reach = np.argwhere(cohort).mean(axis=0), CENTROID_STEPS * STEP + 1
    low = np.ceil(centroid + reach - marked.min(axis=0))
    after = np.array(public.shape) - 1 - marked.max(axis=0)
    high = np.ceil(np.array(cohort.shape) - centroid + reach - after)
    return [(max(0, int(a)), max(0, int(b))) for a, b in zip(low, high, strict=True)]


def _components(
    labels: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Connected components, numbered from 1, and the size of each in voxels."""
    components, _ = ndimage.label(labels)
    return components, np.bincount(components.ravel())[1:]


def _window(corner: Array, shape: Shape) -> tuple[slice, ...]:
    return tuple(slice(int(c), int(c) + n) for c, n in zip(corner, shape, strict=True))


def _ncc_map(mean: Array, public: Array) -> Array:
    """Normalised cross-correlation of the mean with the window at every `STEP`-th corner."""
    thin = (slice(None, None, STEP),) * 3
    kernel = ndimage.gaussian_filter(mean, 0.5)[thin]
    kernel = kernel - kernel.mean()
    smooth = ndimage.gaussian_filter(public, WINDOW_BLUR)[thin]
    covariance = signal.fftconvolve(smooth, kernel[::-1, ::-1, ::-1], mode="valid") / kernel.size
    std = np.sqrt(np.maximum(_window_variance(smooth, kernel.shape), 1e-4))
    return np.asarray(covariance / (std * max(float(kernel.std()), 1e-9)))


def _window_variance(values: Array, window: Shape) -> Array:
    """Variance within each window that fits into the volume."""
    ones = np.ones(window) / np.prod(window)
    mean = signal.fftconvolve(values, ones, mode="valid")
    return np.asarray(signal.fftconvolve(values**2, ones, mode="valid") - mean**2)


def _similarity_init(
    ncc: Array, public: npt.NDArray[np.bool_], cohort: npt.NDArray[np.bool_]
) -> Array | None:
    """[3] corner of the window with the largest sum of correlation and label overlap.

    Only windows near which the centroid of a component of public labels meets the cohort's are
    tried.
    """
    components, sizes = _components(public)
    largest = np.argsort(-sizes)[:MAX_COMPONENTS]
    candidates = [int(k) + 1 for k in largest if 4 * sizes[k] >= cohort.sum()]
    centroid = np.argwhere(cohort).mean(axis=0)
    best_score, best_corner = -np.inf, None
    for component in ndimage.center_of_mass(public, components, candidates):
        first = np.round(component - centroid).astype(int)
        for shift in np.ndindex(*(2 * CENTROID_STEPS + 1,) * 3):
            corner = first + STEP * (np.array(shift) - CENTROID_STEPS)
            if (corner < 0).any() or (corner + cohort.shape > public.shape).any():
                continue
            index = tuple(np.minimum(corner // STEP, np.array(ncc.shape) - 1))
            score = ncc[index] + _overlap(public[_window(corner, cohort.shape)], cohort)
            if score > best_score:
                best_score, best_corner = float(score), corner
    return best_corner


def _fit_similarity(
    mean: Array, labels: Values, public: Array, public_labels: Values, centre: Array
) -> Array:
    """[3, X, Y, Z] position in the public volume of each voxel of the grid.

    Maximises the correlation of images plus the overlap of labels (Powell 1964).

    centre: [3] initial position of the grid's centre in the public volume.
    """
    middle = ((np.array(mean.shape) - 1) / 2.0).reshape(3, 1, 1, 1)
    thin = (slice(STEP // 2, None, STEP),) * 3
    offsets = identity(mean.shape) - middle
    thin_offsets = offsets[:, *thin]
    target_image = _blurred(mean)[thin]
    target_labels = _blurred(labels)[thin]
    source = np.stack([_blurred(public), _blurred(public_labels)]).astype(np.float32)
    unit = np.array([SCALE_STD, *[ROTATION_STD] * 3, *[SHIFT_STD] * 3])

    def cost(steps: Array) -> float:
        image, marked = interpolate(source, _transform(thin_offsets, steps * unit, centre))
        agreement = _correlation(image, target_image) + _overlap(marked, target_labels)
        return PRIOR_WEIGHT * float((steps**2).sum()) - agreement

    best = optimize.minimize(cost, np.zeros(7), method="Powell", options={"maxfev": 1500})
    return _transform(offsets, best.x * unit, centre)


def _blurred(values: Values) -> Array:
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float64), SIMILARITY_BLUR))


def _overlap(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Dice coefficient of two masks, blurred or not."""
    total = max(float(first.sum() + second.sum()), 1e-9)
    return 2.0 * float(np.minimum(first, second).sum()) / total


def _correlation(first: Array, second: Array) -> float:
    """Pearson correlation; 0 if either image is constant, as a mean below its noise is."""
    a, b = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 1e-12 else 0.0


def _transform(offsets: Array, similarity: Array, centre: Array) -> Array:
    """Offsets [3, ...] from the grid's centre as positions in the public volume.

    similarity: [7] log scale, rotation vector (radians), shift (voxels).
    """
    matrix = np.exp(similarity[0]) * Rotation.from_rotvec(similarity[1:4]).as_matrix()
    transformed = np.einsum("ij,j...->i...", matrix, offsets)
    return np.asarray(transformed + (centre + similarity[4:]).reshape(3, 1, 1, 1))
