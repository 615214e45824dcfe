"""What an entry's labels are drawn as: rendering classes, and the cohort's labels among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.anatomy.collection import Group, PersonMaps
from medvae.anatomy.collection.labels import classes
from medvae.anatomy.drawing.tissues import AIR
from medvae.anatomy.registration import Subject, pull_to_template
from medvae.anatomy.registration.subject import Maps, class_shares

# The most structures that have a grey value of their own; the smallest others share one.
MOST_CLASSES = 36
OTHER = "other structures"
# A structure of at least this part of the anatomy is two: within so many mm of air, where fat is,
# and deeper, where muscle is.
DIVIDED, SURFACE_MM = 0.25, 8.0
SURFACE = "near the surface"


@dataclass(frozen=True)
class Components:
    """Parts of an entry's label maps, each of one rendering class and one cohort label.

    Attributes:
        names: [K] rendering classes: structures without their side; the first is air.
        of_label: [N] uint8 entry label number -> component; what is unlabelled is component 0.
        classes: [M] component -> rendering class.
        cohort: [M] component -> cohort label 1..L, or 0.
        labels: L.
        surface: component -> the component that it is near the surface.
    """

    names: tuple[str, ...]
    of_label: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.intp]
    cohort: npt.NDArray[np.intp]
    labels: int
    surface: dict[int, int]

    @classmethod
    def of(
        cls,
        scheme: Mapping[int, str],
        matched: Sequence[Sequence[int]],
        people: Sequence[PersonMaps],
    ) -> Components:
        """Args:
        scheme: the entry's label number -> name.
        matched: for each cohort label, the entry's label numbers.
        people: some of the entry, whose volumes are looked at.
        """
        structures = classes(scheme)
        volumes = _volumes(structures, people)
        ordered = sorted(volumes, key=lambda name: -volumes[name])
        if len(ordered) > MOST_CLASSES:
            ordered = ordered[: MOST_CLASSES - 1]
        names = [AIR, *sorted(ordered)]
        if len(ordered) < len(volumes):
            names.append(OTHER)
        index = {name: at for at, name in enumerate(names)}
        cohort_of = {number: at for at, own in enumerate(matched, 1) for number in own}
        pairs = {(0, 0): 0}
        table = np.zeros(max(scheme) + 1, np.uint8)
        for number, name in structures.items():
            pair = (index.get(name, len(names) - 1), cohort_of.get(number, 0))
            table[number] = pairs.setdefault(pair, len(pairs))
        surface = {}
        total = sum(volumes.values())
        for (at, label), component in list(pairs.items()):
            if at and label == 0 and volumes.get(names[at], 0.0) >= DIVIDED * total:
                names.append(f"{names[at]} {SURFACE}")
                surface[component] = pairs.setdefault((len(names) - 1, 0), len(pairs))
        of_class, of_cohort = np.array(list(pairs), np.intp).T
        return cls(tuple(names), table, of_class, of_cohort, len(matched), surface)

    @property
    def divided(self) -> list[int]:
        """Rendering classes that hold organs with borders of their own: muscles and fat."""
        return [int(self.classes[at]) for pair in self.surface.items() for at in pair]

    @property
    def near_surface(self) -> list[int]:
        """Those of them that are near the surface: a coat without borders of its own."""
        return [int(self.classes[at]) for at in self.surface.values()]

    def __len__(self) -> int:
        return len(self.classes)

    def to_classes(self) -> npt.NDArray[np.float32]:
        """[K, M] 1 where a component is of a class."""
        return np.asarray(np.arange(len(self.names))[:, None] == self.classes, np.float32)

    def to_cohort(self) -> npt.NDArray[np.float32]:
        """[L + 1, M] 1 where a component is of a cohort label; the first row: of none."""
        return np.asarray(np.arange(self.labels + 1)[:, None] == self.cohort, np.float32)

    def of_channels(
        self, channels: Sequence[str], volumes: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """[L, C] what part of a channel, a structure of both sides, each cohort label stands for.

        What a label has in structures without a channel counts with those that have one.

        volumes: [M] mm^3 of each component.
        """
        table = np.zeros((self.labels + 1, len(channels)))
        place = {name: at for at, name in enumerate(channels)}
        whole, covered = np.zeros(self.labels + 1), np.zeros(self.labels + 1)
        of_class = self.to_classes() @ volumes
        for at, label, volume in zip(self.classes, self.cohort, volumes, strict=True):
            whole[label] += volume
            channel = place.get(self.names[at])
            if channel is not None and of_class[at] > 0:
                covered[label] += volume
                table[label, channel] += volume / of_class[at]
        scale = whole / np.where(covered > 0, covered, np.inf)
        return np.asarray(table[1:] * scale[1:, None], np.float32)

    def maps(self, person: PersonMaps) -> npt.NDArray[np.uint8]:
        """[X, Y, Z] component of each voxel."""
        components = self.of_label[np.clip(person.labels, 0, len(self.of_label) - 1)]
        if self.surface:
            reach = [2 * int(np.ceil(SURFACE_MM / s)) + 1 for s in person.spacing]
            near = ndimage.minimum_filter(components, reach) == 0
            table = np.arange(256, dtype=np.uint8)
            table[list(self.surface)] = list(self.surface.values())
            components = np.where(near, table[components], components)
        return np.asarray(components)

    def volumes(self, people: Sequence[PersonMaps]) -> npt.NDArray[np.float64]:
        """[M] mm^3 of each component in some people."""
        total = np.zeros(len(self))
        for person in people:
            counts = np.bincount(self.maps(person).ravel(), minlength=len(self))
            total += counts * float(np.prod(person.spacing))
        return total


def mean_shares(components: Components, person: Callable[[int], PersonMaps], group: Group) -> Maps:
    """[M, X, Y, Z] mean share of each component over the people, on the group's template grid.

    They sum to 1; where nobody shows anything there is air.
    """
    grid = group.template.grid
    count = len(components)
    total, weights = np.zeros((count, *grid.shape), np.float32), np.zeros(grid.shape, np.float32)
    for index, alignment in enumerate(group.alignments):
        maps_of_person = person(index)
        numbers = {number: number for number in range(count)}
        maps, affine = class_shares(
            components.maps(maps_of_person),
            maps_of_person.affine,
            numbers,
            count,
            max(grid.spacing),
        )
        values, coverage = pull_to_template(Subject(affine, maps), alignment, grid)
        total += values * coverage
        weights += coverage
    total[0] += weights < 0.5
    return np.asarray(total / np.maximum(total.sum(axis=0), 1e-6), np.float32)


def summed(table: npt.NDArray[np.float32], shares: Maps) -> Maps:
    """[K, ...] sums of shares [M, ...] by a table [K, M]."""
    return np.asarray(np.tensordot(table, shares, axes=1), np.float32)


def _volumes(structures: Mapping[int, str], people: Sequence[PersonMaps]) -> dict[str, float]:
    """Voxels of each structure in some people."""
    volumes = dict.fromkeys(sorted(set(structures.values())), 0.0)
    for person in people:
        counts = np.bincount(person.labels.ravel(), minlength=max(structures) + 1)
        for number, name in structures.items():
            volumes[name] += float(counts[number])
    return volumes
