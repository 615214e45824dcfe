"""Entries of images with labels: a public person's own picture, in another pose and other greys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from medvae.anatomy.drawing.layers import Layers, figure_names, shares
from medvae.anatomy.drawing.pose import OutputGrid, Pose, in_box
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.registration import Alignment, sampling, signed_distances
from medvae.anatomy.registration.geometry import Array, transform
from medvae.anatomy.related import Related
from medvae.anatomy.scan import Scan
from medvae.threads import one_thread

# How much figures differ between people, where there are too few public people, and how many people
# that counts like.
TYPICAL_STD, PRIOR_PEOPLE = 0.1, 4.0
# Correlations of few people are shrunk toward none by this part.
UNCORRELATED = 0.2
# Of the splines that images are interpolated by. Linear interpolation takes noise and borders away:
# texture distances of drawn hippocampi to real ones fell from 126 to 37 with cubic ones (see
# docs/benchmarks/anatomy.md).
ORDER = 3
# Distances are cut off here, in mm: only the border is looked at.
LIMIT_MM = 30.0


class ImageRenderer:
    """`Renderer` of images with labels.

    A drawn picture is a public person's own, which keeps every texture and every structure that
    is not labelled; labels and background get the drawn grey values.
    """

    def __init__(
        self,
        person: Callable[[int], Scan],
        alignments: Sequence[Alignment],
        labels: Sequence[str],
        *,
        absolute: bool,
    ) -> None:
        """Args:
        person: reads public person i, in the cohort's labels and on the modality's scale.
        alignments: where each of them is.
        labels: names of the cohort's labels.
        absolute: the modality's grey values are absolute: the background keeps its own.
        """
        self._labels, self._absolute = tuple(labels), absolute
        self._read, self.order = person, ORDER
        self._person = _cached(person, len(labels), ORDER)
        own = np.stack([self.measure(person(i), pose) for i, pose in enumerate(alignments)])
        self._own: Array = own
        is_measured = np.isfinite(own)
        counts = np.maximum(is_measured.sum(axis=0), 1)
        mean = np.where(is_measured, own, 0.0).sum(axis=0) / counts
        deviation = np.where(is_measured, own - mean, 0.0)
        variance = (deviation**2).sum(axis=0) + PRIOR_PEOPLE * TYPICAL_STD**2
        self._mean: Array = mean
        self._std: Array = np.sqrt(variance / (counts + PRIOR_PEOPLE))
        scaled = deviation / self._std
        correlation = scaled.T @ scaled / len(own)
        self._correlation: Array = (1.0 - UNCORRELATED) * correlation
        np.fill_diagonal(self._correlation, 1.0)

    def with_linear_images(self) -> ImageRenderer:
        """The same for models from before images were interpolated by cubic splines."""
        renderer = copy(self)
        renderer.order = 1
        renderer._person = _cached(self._read, len(self._labels), 1)
        return renderer

    @property
    def names(self) -> Sequence[str]:
        return figure_names(self._labels, absolute=self._absolute)

    @property
    def public_mean(self) -> Array:
        return self._mean

    @property
    def public_std(self) -> Array:
        return self._std

    @property
    def public_within(self) -> Array:
        return self._std

    @property
    def public_correlation(self) -> Array:
        return self._correlation

    @property
    def greys_apart(self) -> int:
        return 0

    def correlation_of(self, numbers: Numbers) -> Array:
        return self.public_correlation

    @property
    def related(self) -> Related:
        return Related(self._correlation, np.zeros(len(self._mean), np.intp))

    def of_given_labels(self, figures: Array) -> Array:
        return figures

    def greys(self, figures: Array) -> Array:
        return Layers.of(figures, len(self._labels)).means

    def measure(self, scan: Scan, alignment: Alignment) -> Array:
        with one_thread():
            inside = in_box(scan, alignment)
        layers = Layers.measure(
            scan.image, scan.mask, inside, len(self._labels), absolute=self._absolute
        )
        return layers.figures

    def draw(
        self,
        person: int,
        pose: Pose,
        grid: OutputGrid,
        figures: Array,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        source = self._person(person)
        own = Layers.of(self._own[person], len(self._labels))
        layers = Layers.of(figures, len(self._labels))
        image, mask = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.uint8)
        with one_thread():
            splines = source.splines(pose, grid)
            for where, slab in grid.slabs():
                values, distances = source.at(pose.person_points(slab), splines)
                image[where] = own.repaint(values, shares(distances, source.softness), layers)
                nearest = distances.argmin(axis=0)
                mask[where] = np.where(distances.min(axis=0) < 0.0, nearest + 1, 0)
        return image, mask


def _cached(person: Callable[[int], Scan], labels: int, order: int) -> Callable[[int], _Person]:
    return lru_cache(maxsize=4)(lambda index: _Person(person(index), labels, order))


class _Person:
    """A public person's maps, ready to be pulled."""

    def __init__(self, scan: Scan, labels: int, order: int) -> None:
        """order: of the splines that the image is interpolated by."""
        self.scan, self._order = scan, order
        spacing = (float(scan.spacing[0]), float(scan.spacing[1]), float(scan.spacing[2]))
        # A border is as wide as a voxel of the finest axis.
        self.softness = min(spacing)
        mask = np.zeros(scan.image.shape, np.uint8) if scan.mask is None else scan.mask
        maps = signed_distances(mask, range(1, labels + 1), spacing, LIMIT_MM)
        stacked = torch.from_numpy(np.concatenate([scan.image[None], maps]))
        self._maps = sampling.side_by_side(stacked)
        self._to_index: Array = np.linalg.inv(scan.affine).astype(np.float64)

    def splines(self, pose: Pose, grid: OutputGrid) -> npt.NDArray[np.float32] | None:
        """Coefficients of the image, smoothed as coarser voxels of a grid are; None: none needed.

        A voxel shows the mean of its place. Where it is larger than the person's own, the image
        has the deviation of a box of the difference, as measured in the middle of the grid.
        """
        if self._order == 1:
            return None
        middle = grid.affine @ np.array([*(np.asarray(grid.shape) - 1.0) / 2.0, 1.0])
        step = grid.affine.copy()
        step[:3, 3] = middle[:3]
        corners = transform(self._to_index, pose.person_points(OutputGrid(step, (2, 2, 2))))
        ends = (corners[:, 1, 0, 0], corners[:, 0, 1, 0], corners[:, 0, 0, 1])
        edges = torch.stack(ends, dim=1) - corners[:, 0, 0, 0][:, None]
        size = (edges.double() ** 2).sum(dim=1).numpy()
        width = np.sqrt(np.maximum(size - 1.0, 0.0) / 12.0)
        # Mirrored beyond the faces of the outermost voxels, as `at` mirrors it.
        smooth = ndimage.gaussian_filter(self.scan.image, width, mode="reflect")
        coefficients = ndimage.spline_filter(smooth, self._order, np.float32, mode="reflect")
        return np.asarray(coefficients, np.float32)

    def at(
        self, points: torch.Tensor, splines: npt.NDArray[np.float32] | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Image [...] and distances [L, ...] at points [3, ...] in mm.

        Beyond the field of view the image is mirrored, and nothing is labelled.

        splines: of the image; None: it is interpolated linearly.
        """
        shape = torch.tensor(self.scan.image.shape).reshape(3, *[1] * (points.ndim - 1))
        where = (2.0 * transform(self._to_index, points) + 1.0) / shape - 1.0
        # The triangle wave of period 4 that is the identity within -1 and 1.
        mirrored = 1.0 - (torch.remainder(where + 1.0, 4.0) - 2.0).abs()
        values = sampling.sample(self._maps, mirrored).numpy()
        beyond = (where.abs() > 1.0).any(dim=0).numpy()
        image = values[0]
        if splines is not None:
            index = ((mirrored + 1.0) * shape / 2.0 - 0.5).numpy()
            image = ndimage.map_coordinates(
                splines, index, np.float32, self._order, mode="reflect", prefilter=False
            )
            # No brighter or darker than the person is anywhere.
            image = np.clip(image, self.scan.image.min(), self.scan.image.max())
        return image, np.where(beyond, np.float32(LIMIT_MM), values[1:])
