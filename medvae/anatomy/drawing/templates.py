"""Cohorts without public people: released mean maps, and cells where they say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.drawing.cells import cells
from medvae.anatomy.drawing.contrasted import Contrasted, Variation
from medvae.anatomy.drawing.layers import Layers, figure_names, nested_shares, shares
from medvae.anatomy.drawing.pairs import TOGETHER_STD, TOGETHER_WITHIN
from medvae.anatomy.drawing.pose import OutputGrid, Pose, in_box
from medvae.anatomy.drawing.texture import field
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.registration import Alignment, sampling
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates import Templates
from medvae.threads import one_thread

# How much figures differ between patients, before anything is released: means of labels and
# quantiles of the background, and deviations within labels.
GREY_STD, DEVIATION_STD = 0.25, 0.08
# The same on an absolute scale, as parts of what tissues differ by (`Tissues.varies`), and how much
# of it is left between patients where the means are known: contrast agents, fat in a liver. Gas is
# as dark as lung, more or less.
ABSOLUTE_STD, ABSOLUTE_DEVIATION_STD, ABSOLUTE_WITHIN = 1.0, 0.3, 0.3
GAS_STD = 0.15
# Finest voxels of the cells along the edge of a cube of the box's volume.
FINEST_CELLS = 112
# Fields within labels: width as a part of the edge, and amplitude.
WITHIN = ((0.03, 0.5), (0.12, 0.85))
# Voxels along the box's edge where the grey values of a draw are measured before it is painted.
ALONG = 56.0
# The seed of the picture that stands for all where its grey values are looked at, and how many
# draws after it say how much of what is drawn varies within a label.
REFERENCE, LOOKED = 0, 3


class TemplateRenderer:
    """`Renderer` of mean maps.

    Borders are where the mean distances have them. A label has its drawn mean and deviation; the
    background is the mean picture and, as far as pictures differ from it, cells of even grey;
    its grey values are distributed as drawn.

    Several contrasts of one subject are images [C, X, Y, Z]: borders of labels and of cells are
    one, each contrast has its own mean picture and grey values, and each pair the correlation of
    what varies beside the labels and within them (`Contrasted`).
    """

    def __init__(
        self,
        templates: Templates,
        labels: Sequence[str],
        drawn: int,
        channels: Sequence[str] = (),
    ) -> None:
        """Args:
        templates: the mean maps.
        labels: names of the labels that they are of.
        drawn: how many of these, from the first on, drawn masks have.
        channels: names of the contrasts; empty: there is one, and images have no channels.
        """
        self._drawn = drawn
        self._box, self._tissues = templates.box, templates.tissues
        # Gas has grey values of its own as labels have, and is none in a mask.
        hidden = () if self._tissues is None else self._tissues.names[:-1]
        self._organs, self._labels = len(labels), (*labels, *hidden)
        # Automatic tissues are each within the one before it.
        self._shares = shares if templates.automatic is None else nested_shares
        self._distances = sampling.side_by_side(torch.from_numpy(templates.sharp))
        self._picture = sampling.side_by_side(torch.from_numpy(templates.picture()))
        names = figure_names(self._labels)
        self._contrasts = Contrasted(tuple(channels), tuple(names), len(self._labels))
        self._own = self._reference()
        self.measures_draws = True

    def with_one_reference(self) -> TemplateRenderer:
        """The same for models from before the grey values of each draw were measured."""
        renderer = copy(self)
        renderer.measures_draws = False
        return renderer

    @property
    def names(self) -> Sequence[str]:
        return self._contrasts.names

    @property
    def public_mean(self) -> Array:
        each, tissues = [layers.figures for layers in self._own], self._tissues
        if tissues is not None:
            for figures in each:
                figures[: self._organs] = tissues.soft
                if tissues.gas is not None:
                    figures[self._organs] = (tissues.gas - 1.0) / 2.0
        return self._contrasts.joined(each, 0.0)

    @property
    def public_std(self) -> Array:
        count, tissues = len(self._labels), self._tissues
        std = np.full(self._contrasts.own, GREY_STD)
        std[count : 2 * count] = DEVIATION_STD
        if tissues is not None:
            std[:] = ABSOLUTE_STD * tissues.varies
            std[count : 2 * count] = ABSOLUTE_DEVIATION_STD * tissues.varies
            if tissues.gas is not None:
                std[self._organs] = GAS_STD
        return self._contrasts.joined([std] * self._contrasts.count, TOGETHER_STD)

    @property
    def public_within(self) -> Array:
        within = self.public_std * (1.0 if self._tissues is None else ABSOLUTE_WITHIN)
        within[self._contrasts.pairs_from :] = TOGETHER_WITHIN
        return within

    @property
    def public_correlation(self) -> Array:
        return np.eye(len(self.names))

    @property
    def greys_apart(self) -> int:
        return 0

    def correlation_of(self, numbers: Numbers) -> Array:
        return self.public_correlation

    @property
    def related(self) -> None:
        return None

    def of_given_labels(self, figures: Array) -> Array:
        return figures

    def greys(self, figures: Array) -> Array:
        means = [layers.means[: self._organs] for layers in self._contrasts.layers(figures)]
        return np.stack(means) if self._contrasts.channels else means[0]

    def measure(self, scan: Scan, alignment: Alignment) -> Array:
        images = [channel.image for channel in scan.channels]
        if len(images) != self._contrasts.count:
            return np.full(len(self.names), np.nan)
        with one_thread():
            inside = in_box(scan, alignment)
        mask = scan.mask
        if self._tissues is not None:
            tissues = self._tissues.shown(scan)
            inside &= tissues[-1]
            mask = np.zeros(scan.image.shape, np.uint8) if mask is None else mask.copy()
            for label, hidden in enumerate(tissues[:-1], self._organs + 1):
                mask[hidden] = label
        return self._contrasts.measure(images, mask, inside)

    def draw(
        self,
        person: int,
        pose: Pose,
        grid: OutputGrid,
        figures: Array,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        contrasts = self._contrasts
        wanted = contrasts.layers(figures)
        softness = float(grid.spacing.min())
        images = np.empty((contrasts.count, *grid.shape), np.float32)
        mask = np.empty(grid.shape, np.uint8)
        with one_thread():
            noise = self._noise(softness, random, contrasts.roots(figures, self._varies))
            own = self._own
            if self.measures_draws:
                coarse = pose.template_points(grid.thinned(self._box.edge / ALONG))
                own = self._layers(coarse, noise, softness)
            for where, slab in grid.slabs():
                points = pose.template_points(slab)
                values, distances, parts = self._at(points, noise, softness)
                body = self._body(distances, parts, softness)
                for image, picture, before, after in zip(images, values, own, wanted, strict=True):
                    # What is round the body is as dark as the window shows.
                    image[where] = body * (before.repaint(picture, parts, after) + 1.0) - 1.0
                mask[where] = _labels(distances[: self._organs], self._drawn)
        return (images if contrasts.channels else images[0]), mask

    def _body(
        self,
        distances: npt.NDArray[np.float32],
        parts: npt.NDArray[np.float32],
        softness: float,
    ) -> npt.NDArray[np.float32]:
        """[...] part of each voxel that is body: all of it where tissues are not separated."""
        if self._tissues is None:
            return np.ones(distances.shape[1:], np.float32)
        own = shares(distances[-1:], softness)[0]
        return np.asarray(np.maximum(own, parts[: self._organs].sum(axis=0)), np.float32)

    def _parts(
        self, distances: npt.NDArray[np.float32], softness: float
    ) -> npt.NDArray[np.float32]:
        """[L, ...] part of each label in each voxel, and of gas, which is behind the labels."""
        count = self._organs
        parts = self._shares(distances[:count], softness)
        if len(self._labels) == count:
            return parts
        gas = shares(distances[count : len(self._labels)], softness)
        return np.concatenate([parts, gas * (1.0 - parts.sum(axis=0))])

    def _at(
        self, points: torch.Tensor, noise: torch.Tensor, softness: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Pictures [C, ...], distances and shares of the labels [L, ...] at points [3, ...].

        Beyond the box the picture is mirrored, and labels go on as they are at the border.
        """
        where = sampling.box_coordinates(points, self._box)
        distances = sampling.sample(self._distances, where).numpy()
        mean, deviation = self._pictures(where)
        parts = self._parts(distances, softness)
        return mean + deviation * self._mixed(noise, where, parts), distances, parts

    @staticmethod
    def _mixed(
        noise: torch.Tensor, where: torch.Tensor, parts: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """[C, ...] what varies at box coordinates [3, ...], by the parts [L, ...] of labels."""
        beside, within = np.split(sampling.sample(noise, _mirrored(where)).numpy(), 2)
        labelled = parts.sum(axis=0)
        return np.asarray(labelled * within + (1.0 - labelled) * beside, np.float32)

    def _pictures(
        self, where: torch.Tensor
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """[C, ...] mean pictures and deviations at box coordinates [3, ...]."""
        mean, deviation = np.split(sampling.sample(self._picture, _mirrored(where)).numpy(), 2)
        return mean, deviation

    def _noise(
        self, spacing: float, random: np.random.Generator, roots: tuple[Array, Array] | None = None
    ) -> torch.Tensor:
        """[2 C, X, Y, Z] filling the box: what varies beside the labels, and within them.

        roots: of the correlation of contrasts, beside and within labels; None: of none.
        """
        edge, count = self._box.edge, self._contrasts.count
        grid = self._box.grid(max(spacing, edge / FINEST_CELLS))
        voxel = np.asarray(grid.spacing)
        beside = cells(grid.shape, voxel, edge, random, count)
        within = [
            sum(
                (np.float32(a) * field(grid.shape, voxel, w * edge, random) for w, a in WITHIN),
                np.zeros(grid.shape, np.float32),
            )
            for _ in range(count)
        ]
        both = [beside, np.stack(within)]
        if count > 1 and roots is not None:
            both = [
                np.tensordot(root.astype(np.float32), own, 1)
                for root, own in zip(roots, both, strict=True)
            ]
        return sampling.side_by_side(torch.from_numpy(np.concatenate(both)))

    def _reference(self) -> list[Layers]:
        """Layers of a picture in the template's own frame; deviations that it lacks are public."""
        points, softness = self._reference_points()
        with one_thread():
            each = self._measured(points, self._noise(softness, _looked(0)), softness)
        std = np.zeros(self._contrasts.own)
        std[len(self._labels) : 2 * len(self._labels)] = 0.1
        return [Layers.of(np.where(np.isfinite(own), own, std), len(self._labels)) for own in each]

    def _reference_points(self) -> tuple[torch.Tensor, float]:
        """[3, X, Y, Z] of the template's own frame, and how soft borders are there."""
        grid = self._box.grid(self._box.edge / ALONG)
        softness = float(OutputGrid(grid.affine, grid.shape).spacing.min())
        return grid.centres(torch.device("cpu")), softness

    @cached_property
    def _varies(self) -> tuple[Variation, Variation]:
        """What of pictures varies beside the labels, and within them; of one channel nothing."""
        if not self._contrasts.pairs:
            return Variation.nothing(1), Variation.nothing(1)
        points, softness = self._reference_points()
        with one_thread():
            where = sampling.box_coordinates(points, self._box)
            means, deviations = self._pictures(where)
            parts = self._parts(sampling.sample(self._distances, where).numpy(), softness)
            drawn = np.concatenate(
                [
                    self._mixed(self._noise(softness, _looked(number)), where, parts)
                    for number in range(1, LOOKED + 1)
                ]
            )
        labels = _likeliest(parts)
        beside, within = (
            Variation.of(means, deviations, drawn, inside, labels)
            for inside in (labels == 0, labels > 0)
        )
        return beside, within

    def _layers(self, points: torch.Tensor, noise: torch.Tensor, softness: float) -> list[Layers]:
        """Layers of a draw before it is painted; those of the reference for what it lacks.

        A draw's cells are brighter or darker as a whole than another's. Painted by the reference,
        they would add that to what patients differ by, and it is not theirs.
        """
        each = self._measured(points, noise, softness)
        return [
            Layers.of(np.where(np.isfinite(own), own, known.figures), len(self._labels))
            for own, known in zip(each, self._own, strict=True)
        ]

    def _measured(self, points: torch.Tensor, noise: torch.Tensor, softness: float) -> list[Array]:
        """Figures of each picture at points [3, X, Y, Z]; NaN for what it does not show."""
        values, distances, parts = self._at(points, noise, softness)
        labels = _likeliest(parts)
        inside = self._body(distances, parts, softness) > 0.5
        count = len(self._labels)
        return [
            Layers.measure(image, labels, inside, count, absolute=False).figures
            for image in np.clip(values, -1.0, 1.0)
        ]


def _looked(number: int) -> np.random.Generator:
    """The random numbers of a draw in which grey values are looked at."""
    return np.random.Generator(np.random.Philox(key=[REFERENCE, number]))


def _likeliest(parts: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """[...] the label that most of a voxel is of; 0 where it is half of it at most."""
    return np.where(parts.max(axis=0) > 0.5, parts.argmax(axis=0) + 1, 0).astype(np.uint8)


def _mirrored(where: torch.Tensor) -> torch.Tensor:
    """Box coordinates as a picture that is mirrored at the box's border has them."""
    return 1.0 - (torch.remainder(where + 1.0, 4.0) - 2.0).abs()


def _labels(distances: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.uint8]:
    """[...] the label of the smallest of the distances [L, ...] below 0, of the first `count`."""
    nearest = distances.argmin(axis=0)
    inside = (distances.min(axis=0) < 0.0) & (nearest < count)
    return np.where(inside, nearest + 1, 0).astype(np.uint8)
