"""Entries of label maps: tissues of a public person, in grey values and textures of the cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cache, cached_property, lru_cache, partial

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.collection import AlignedEntry, Group, PersonMaps
from medvae.anatomy.drawing import looks, volumes
from medvae.anatomy.drawing.borders import Borders
from medvae.anatomy.drawing.components import Components, mean_shares, summed
from medvae.anatomy.drawing.expected import Expected
from medvae.anatomy.drawing.lattice import Lattice
from medvae.anatomy.drawing.looks import Looks, Seen
from medvae.anatomy.drawing.mixture import fit
from medvae.anatomy.drawing.observed import MEASURED_MM, Observed, observe, voxel_mm3
from medvae.anatomy.drawing.pose import OutputGrid, Pose
from medvae.anatomy.drawing.sequences import Contrast
from medvae.anatomy.drawing.shading import Shading
from medvae.anatomy.drawing.soft import SoftLabels
from medvae.anatomy.drawing.texture import BLOCK_MM, deviations, textures
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.registration import Alignment, sampling
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.registration.subject import Maps
from medvae.anatomy.related import Related
from medvae.anatomy.scan import Scan
from medvae.threads import one_thread

# Public constants. Structures of at least this part of the anatomy have textures of their own.
TEXTURED = 0.002
# People whose volumes and borders are looked at.
SURVEYED = 3
# What varies within a tissue beside its borders is at least this part of what varies at all.
LEAST_FINE = 0.25
# A voxel counts for its likeliest tissue where that is at least so likely; a tissue of fewer mm^3
# is not measured.
LIKELY, LEAST_MM3 = 0.5, 300.0
# And one that is surely of its tissue is so likely.
SURE = 0.95
# Points whose labels are counted are so far apart, in mm.
COUNTED_MM = 4.0
# Coarser voxels are means of points so far apart, in mm.
POINTS_MM = 2.0
# What a component adds to a picture: its grey value, and the amplitudes of `textures`.
PARTS = 5


class ClassRenderer:
    """`Renderer` of label maps of a whole region.

    Figures: the mean grey value of each tissue, and of the larger ones the standard deviation
    within it, fine and coarse; the coil's shading; and how large each cohort label is (`volumes`).
    """

    def __init__(
        self,
        person: Callable[[int], PersonMaps],
        aligned: AlignedEntry,
        scheme: Mapping[int, str],
        matched: Sequence[Sequence[int]],
        window: tuple[float, float] | None = None,
        contrast: Contrast | None = "t1",
    ) -> None:
        """Args:
        person: reads public person i.
        aligned: pose of each of them, in their mean template.
        scheme: the entry's label number -> name.
        matched: for each cohort label, the entry's label numbers (see `matching.match`).
        window: of a CT, in Hounsfield units; None: MRI.
        contrast: of an MRI; None: as in models from before contrasts were known.
        """
        self.group = group = aligned.group
        some = [person(index) for index in range(min(SURVEYED, len(group.alignments)))]
        self.components = Components.of(scheme, matched, some)
        with one_thread():
            self._borders = Borders(self.components, some, MEASURED_MM)
        self._shares = cache(partial(_mean_shares, self.components, person, group))
        self._shading = Shading(group.template.box, used=window is None)
        of_component = self.components.volumes(some)
        of_class = self.components.to_classes() @ of_component
        self._of_channels = self.components.of_channels(aligned.channels, of_component)
        large = np.flatnonzero(of_class >= TEXTURED * of_class[1:].sum())
        # [K] class -> texture; the last texture is that of all smaller structures.
        self._textures = np.full(len(of_class), len(large), np.intp)
        self._textures[large] = np.arange(len(large))
        self._textured = [self.components.names[at] for at in large] + ["smaller structures"]
        counts = len(self._textured), len(self._shading.waves)
        expected = partial(Expected.of, self.components, self._textures, *counts, window)
        self._expected, self._make_expected = expected(contrast), expected
        self._person = lru_cache(maxsize=4)(lambda index: self._soft(person(index)))

    @property
    def shares(self) -> Maps:
        """[M, X, Y, Z] mean share of each component; read from everybody when first asked for."""
        return self._shares()

    @cached_property
    def class_shares(self) -> Maps:
        """[K, X, Y, Z] mean share of each rendering class."""
        return summed(self.components.to_classes(), self.shares)

    @property
    def names(self) -> Sequence[str]:
        waves, labels = self._shading.waves.tolist(), len(self._expected.mean.volumes)
        return looks.names(self.components.names, self._textured, waves, labels)

    def of_contrast(self, contrast: Contrast) -> ClassRenderer:
        """The same anatomy in MRI of another contrast."""
        renderer = copy(self)
        renderer._expected = self._make_expected(contrast)
        return renderer

    @property
    def expected(self) -> Expected:
        """What is known of the figures publicly."""
        return self._expected

    def without_volumes(self) -> ClassRenderer:
        """The same with the figures of models from before volumes were measured."""
        renderer = copy(self)
        renderer._expected = self._expected.without_volumes()
        return renderer

    def with_earlier_shading(self) -> ClassRenderer:
        """The same with the units of models that do not say theirs."""
        renderer = copy(self)
        renderer._expected = self._expected.with_earlier_shading()
        return renderer

    def with_earlier_greys(self) -> ClassRenderer:
        """The same with the grey values that were expected before contrasts were known."""
        renderer = copy(self)
        renderer._expected = self._expected.with_greys_of(self._make_expected(None))
        return renderer

    @property
    def shading_std(self) -> float:
        """Public standard deviation of a shading coefficient; 0 where there is no shading."""
        return float(self._expected.std.shading.max(initial=0.0))

    @property
    def public_mean(self) -> Array:
        return self._expected.mean.vector

    @property
    def public_std(self) -> Array:
        return self._expected.std.vector

    @property
    def public_within(self) -> Array:
        return self._expected.within.vector

    @property
    def public_correlation(self) -> Array:
        return self._expected.correlation

    @property
    def greys_apart(self) -> int:
        return 0 if self.related is None else len(self._expected.mean.means)

    def correlation_of(self, numbers: Numbers) -> Array:
        if not len(numbers.figures_error) or self.related is None:
            return self._expected.correlation
        return self._expected.correlation_of(
            numbers.figures_std, numbers.figures_error, numbers.figures_noise
        )

    @property
    def related(self) -> Related | None:
        return self._expected.related

    @property
    def tissue_means(self) -> Array:
        """[K] textbook grey value of each rendering class."""
        return self._expected.mean.means

    def of_given_labels(self, figures: Array) -> Array:
        looks = self._expected.mean.like(figures)
        return replace(looks, volumes=np.full_like(looks.volumes, np.nan)).vector

    def greys(self, figures: Array) -> Array:
        of_component = self._expected.mean.like(figures).means[self.components.classes]
        part = self.components.to_cohort()[1:] * self.shares.sum(axis=(1, 2, 3))
        return np.asarray(part @ of_component / np.maximum(part.sum(axis=1), 1e-6))

    def measure(self, scan: Scan, alignment: Alignment) -> Array:
        with one_thread():
            observed = observe(scan, alignment, self.components, self.shares)
            return self.see(observed).looks.vector

    def see(self, observed: Observed) -> Seen:
        """What one image of a patient shows."""
        basis = self._shading.basis(observed.points).numpy()
        mixture = fit(observed.signal, observed.prior, basis)
        # A voxel that is more likely an edge than any tissue counts for none.
        likely = mixture.posterior[:-1].max(axis=0)
        tissue = mixture.posterior[:-1].argmax(axis=0)
        of_tissue = mixture.posterior[:-1].sum(axis=1) * voxel_mm3(observed.grid.affine)
        is_measured = of_tissue >= LEAST_MM3
        residual = (observed.signal / mixture.gain - mixture.means[tissue]).astype(np.float32)
        weights = np.where(is_measured[tissue] & (likely > LIKELY), likely, np.float32(0.0))
        fine, coarse = deviations(
            2.0 * residual,
            weights,
            self._textures[tissue],
            len(self._textured),
            _blocks(observed.grid),
        )
        greys = 2.0 * mixture.means[:-1] - 1.0
        means = np.where(is_measured, greys, np.nan)
        fine = self._within(fine, greys, of_tissue)
        sizes = observed.sizes[: len(self._expected.mean.volumes)]
        # Noise of air says nothing of tissues, nor do borders, which are seen in all contrasts.
        inside = np.where((tissue > 0) & (likely > SURE), weights, np.float32(0.0))
        return Seen(Looks(means, fine, coarse, mixture.shading, sizes), residual, inside)

    def draw(
        self,
        person: int,
        pose: Pose,
        grid: OutputGrid,
        figures: Array,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        looks = self._expected.mean.like(figures)
        images, mask = self.draw_looks(person, pose, grid, [looks], np.eye(1), random)
        return images[0], mask

    def draw_looks(
        self,
        person: int,
        pose: Pose,
        grid: OutputGrid,
        drawn_looks: Sequence[Looks],
        together: Array,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """`draw` of one subject in several contrasts.

        Args:
            drawn_looks: of each of C contrasts; labels are as large as the first one's.
            together: [C, C] lower triangular: texture of contrast c is the sum over d of
                `together[c, d]` times independent fields of variance 1.

        Returns:
            [C, X, Y, Z] images in [-1, 1] and [X, Y, Z] labels.
        """
        source, count = self._person(person), len(drawn_looks)
        added = [self._adds(looks).T for looks in drawn_looks]
        # In this order in memory, which last bits of products depend on: models of one channel
        # draw as they did before there were several.
        weights = torch.from_numpy(np.concatenate([*added, self.components.to_cohort()])).T
        noise = textures(grid.shape, grid.spacing, together, random)
        images = np.empty((count, *grid.shape), np.float32)
        mask = np.empty(grid.shape, np.uint8)
        with one_thread():
            lattices = [Lattice(pose, grid, self._shading, looks.shading) for looks in drawn_looks]
            offsets = _offsets(grid.spacing)
            factors = self._factors(source, pose, grid, drawn_looks[0].volumes)
            for where, slab in grid.slabs():
                drawn = torch.zeros(int(np.prod(slab.shape)), weights.shape[1])
                for offset in offsets:
                    _add(drawn, source, lattices[0].points(where, offset), weights, factors)
                parts = (drawn / len(offsets)).reshape(*slab.shape, -1).numpy()
                for at, (image, own, lattice) in enumerate(
                    zip(images, noise, lattices, strict=True)
                ):
                    first = PARTS * at
                    values = parts[..., first]
                    for part, texture in enumerate(own, first + 1):
                        values = values + parts[..., part] * texture[where]
                    gain = lattice.gain(where)
                    image[where] = np.clip((values + 1.0) * gain - 1.0, -1.0, 1.0)
                mask[where] = parts[..., PARTS * count :].argmax(axis=-1)
        return images, mask

    def _factors(
        self, source: SoftLabels, pose: Pose, grid: OutputGrid, ratios: Array
    ) -> torch.Tensor:
        """[M] of the memberships of a person's components in a pose: labels of the size wanted.

        ratios: [L] logarithms of volumes over those of the anatomy in this pose; NaN, or empty:
            as the person has them.
        """
        cohort, labels = self.components.cohort, self.components.labels
        if not len(ratios):
            return torch.ones(len(cohort))
        coarse = grid.thinned(COUNTED_MM)
        template = self.group.template
        at = sampling.box_coordinates(pose.template_points(coarse), template.box)
        # Not `shares`: reading everybody takes longer than drawing one.
        values = sampling.sample(torch.from_numpy(template.channels), at).numpy()
        of_channel = values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)
        volume_of_label = self._of_channels @ of_channel * np.exp(ratios)
        points = pose.person_points(coarse).flatten(1)
        label, mixed = source.at(points)
        near = label.numpy() == 255
        pure = np.bincount(cohort[label.numpy()[~near]], minlength=labels + 1)
        of_label = source.mixtures(points[:, mixed]) @ torch.from_numpy(
            self.components.to_cohort().T
        )
        biases = volumes.biases(pure.astype(np.float64), of_label, volume_of_label)
        return torch.from_numpy(np.exp(biases[cohort]).astype(np.float32))

    def _adds(self, looks: Looks) -> npt.NDArray[np.float32]:
        """[M, PARTS] what a component adds to the parts of a picture.

        Grey value, fine and coarse deviation, deviation between patches and along the surface.
        """
        coarse = np.maximum(looks.coarse, 0.0)[self._textures]
        classes = np.arange(len(coarse))
        coat = np.isin(classes, self.components.near_surface)
        patched = np.isin(classes, self.components.divided) & ~coat
        plain = ~(patched | coat)
        fine = np.maximum(looks.fine, 0.0)[self._textures]
        rows = np.stack([looks.means, fine, coarse * plain, coarse * patched, coarse * coat])
        return rows[:, self.components.classes].T.astype(np.float32)

    def _within(self, fine: Array, means: Array, of_tissue: Array) -> Array:
        """[T] fine deviations without what the borders of tissues [K] make vary."""
        count = len(fine)
        weighted = np.bincount(self._textures, of_tissue * self._borders.variances(means), count)
        borders = weighted / np.maximum(np.bincount(self._textures, of_tissue, count), 1e-6)
        return np.asarray(np.sqrt(np.maximum(fine**2 - borders, (LEAST_FINE * fine) ** 2)))

    def _soft(self, person: PersonMaps) -> SoftLabels:
        components = self.components
        maps = components.maps(person)
        return SoftLabels(maps, person.affine, len(components), components.cohort > 0)


def _mean_shares(components: Components, person: Callable[[int], PersonMaps], group: Group) -> Maps:
    with one_thread():
        return mean_shares(components, person, group)


def _add(
    drawn: torch.Tensor,
    source: SoftLabels,
    points: torch.Tensor,
    weights: torch.Tensor,
    factors: torch.Tensor,
) -> None:
    """Add to drawn [P, F] what components of weights [M, F] add at points [3, P].

    factors: [M] of their memberships.
    """
    label, mixed = source.at(points)
    pure = torch.where(label == 255, 0, label.int())
    drawn += weights[pure]
    mixtures = volumes.biased(source.mixtures(points[:, mixed]), factors)
    drawn[mixed] += mixtures @ weights - weights[0]


def _offsets(spacing: Array) -> list[Array]:
    """Points that a voxel is the mean of, in voxels from its centre."""
    counts = np.maximum(np.round(spacing / POINTS_MM), 1.0).astype(int)
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    return list(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3))


def _blocks(grid: OutputGrid) -> npt.NDArray[np.intp]:
    """[P] number of the block of about `BLOCK_MM` that each voxel of a grid is in."""
    step = np.maximum(np.round(BLOCK_MM / grid.spacing), 1.0).astype(int)
    x, y, z = (np.arange(n) // s for n, s in zip(grid.shape, step, strict=True))
    rows = x[:, None, None] * (y[-1] + 1) + y[None, :, None]
    return np.asarray((rows * (z[-1] + 1) + z).ravel(), np.intp)
