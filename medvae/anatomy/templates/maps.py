"""What a cohort without public people is drawn from: released mean maps of its own patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medvae.anatomy.organs import LIMIT_MM
from medvae.anatomy.registration import Template, signed_distances
from medvae.anatomy.registration.geometry import Array, Box
from medvae.anatomy.templates.waves import Waves

# Cosines of the maps, in cycles per edge of the box, and how patients differ in them (see
# `Waves.law`): of distances where patients are placed by the middle of their masks, of distances
# and pictures of registered ones, and of squares of pictures. Faster ones of a mean hold next to
# nothing. Corner and slope are those of 24 hearts and of 24 hippocampi alike.
COARSE, FINE, IMAGE, SQUARE = 2.0, 3.5, 4.0, 1.5
COARSE_LAW, FINE_LAW, IMAGE_LAW = (1.0, 3.0), (2.0, 3.0), (1.0, 1.5)
# Before anything is released each label is a ball of this radius, as a part of the edge.
BALL = 0.2
# Mean square of a picture of which nothing is known: even over -1 to 1.
PUBLIC_SQUARE = 1.0 / 3.0
# A patient's distances differ by so much from a template that is in its place, in mm.
DISTANCE_STD_MM = 3.0
# A picture varies at least by so much round its mean, on the scale of -1 to 1.
LEAST_SPREAD = 0.05
# Noise makes mean distances flat and thin labels vanish; borders are moved by at most so many mm
# until each label is as large as released.
MOST_MOVED_MM = 10.0
_ROUNDS = 6


@dataclass(frozen=True)
class Templates:
    """Mean maps in one box, as cosines; public ones (balls in grey), or released ones.

    Attributes:
        box: in mm, the middle at the origin: the declared size and spacing.
        distances: [L, K] signed distances of the labels in mm, within `LIMIT_MM`.
        volumes: [L] logarithm of each label's part of the box.
        image: [1, J] mean picture, on the scale of -1 to 1.
        square: [1, S] mean square of pictures.
    """

    box: Box
    distances: Array
    volumes: Array
    image: Array
    square: Array

    @classmethod
    def public(cls, box: Box, labels: int) -> Templates:
        """Nothing of any patient: balls in a mean grey that varies."""
        waves = Waves(box, FINE, FINE_LAW)
        grid = waves.grid
        axes = [
            (low + side * (np.arange(n) + 0.5) / n).reshape([-1 if a == b else 1 for b in range(3)])
            for a, (low, side, n) in enumerate(zip(box.low, box.size, grid.shape, strict=True))
        ]
        radius = np.sqrt(axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2)
        ball = np.clip(radius - BALL * box.edge, -LIMIT_MM, LIMIT_MM).astype(np.float32)
        distances = np.repeat(waves.analyse(ball[None]), labels, axis=0)
        volumes = np.full(labels, np.log(float((ball < 0).mean())))
        found = cls(box, distances, volumes, np.zeros((1, 1)), np.zeros((1, 1)))
        square = np.zeros((1, len(found.squares)))
        square[0, 0] = PUBLIC_SQUARE
        return replace(found, image=np.zeros((1, len(found.pictures))), square=square)

    @property
    def labels(self) -> int:
        return len(self.distances)

    @cached_property
    def coarse(self) -> Waves:
        """Of distances of patients who are placed by the middle of their masks."""
        return Waves(self.box, COARSE, COARSE_LAW)

    @cached_property
    def fine(self) -> Waves:
        """Of distances."""
        return Waves(self.box, FINE, FINE_LAW)

    @cached_property
    def pictures(self) -> Waves:
        """Of the mean picture."""
        return Waves(self.box, IMAGE, IMAGE_LAW)

    @cached_property
    def squares(self) -> Waves:
        """Of its mean square."""
        return Waves(self.box, SQUARE, IMAGE_LAW)

    @cached_property
    def template(self) -> Template:
        """What a patient's distances are registered to.

        Distances of the label map in which each label is as large as released. A mean of distances
        is flatter than distances are: patients would be enlarged until they fit it.
        """
        means = np.clip(self.fine.synthesise(self.distances), -LIMIT_MM, LIMIT_MM)
        # No label is larger than the box, whatever noise says.
        means = as_large(means, np.exp(np.minimum(self.volumes, 0.0)))
        labels = np.where(means.min(axis=0) < 0.0, means.argmin(axis=0) + 1, 0).astype(np.uint8)
        spacing = self.fine.grid.spacing
        maps = signed_distances(labels, range(1, self.labels + 1), spacing, LIMIT_MM)
        return Template(self.box, maps, "distances", np.full(self.labels, DISTANCE_STD_MM))

    def picture(self) -> npt.NDArray[np.float32]:
        """[2, X, Y, Z] the mean picture, and how much pictures differ from it (deviation)."""
        mean = np.clip(self.pictures.synthesise(self.image), -1.0, 1.0)[0]
        square = self.squares.synthesise(self.square)[0]
        # The part of the mean's own square that the slower waves of `square` hold.
        own = self.squares.synthesise(self.squares.analyse(mean[None] ** 2))[0]
        deviation = np.sqrt(np.maximum(square - own, LEAST_SPREAD**2))
        return np.stack([mean, deviation]).astype(np.float32)

    def to_arrays(self) -> dict[str, Array]:
        """By name, for a model file; the box follows from the configuration."""
        return {name: getattr(self, name) for name in _NAMES}

    def read(self, arrays: Mapping[str, Array]) -> Templates:
        """These templates with the maps of `to_arrays`. KeyError where one is missing."""
        found = {name: np.asarray(arrays[name]) for name in _NAMES}
        return Templates(self.box, **found)


_NAMES = ("distances", "volumes", "image", "square")


def as_large(distances: npt.NDArray[np.float32], parts: Array) -> npt.NDArray[np.float32]:
    """Distances [L, X, Y, Z], each moved by a constant so that labels fill their parts of the box.

    A voxel has the label of the smallest distance, where that is negative.

    parts: [L] of the box.
    """
    moved = np.zeros(len(distances))
    for _ in range(_ROUNDS):
        for label, wanted in enumerate(parts):
            others = np.minimum.reduce(
                [
                    np.zeros(distances.shape[1:], np.float32),
                    *(
                        distances[other] - np.float32(moved[other])
                        for other in range(len(distances))
                        if other != label
                    ),
                ]
            )
            # The label has the voxels where its distance less `moved` is below all others.
            lead = np.sort((distances[label] - others).ravel())
            last = min(max(round(wanted * lead.size), 0), lead.size - 1)
            moved[label] = np.clip(lead[last], -MOST_MOVED_MM, MOST_MOVED_MM)
    return np.asarray(distances - moved[:, None, None, None], np.float32)


def box_of(size: Sequence[int], spacing: Sequence[float]) -> Box:
    """The declared field of view, the middle at the origin."""
    x, y, z = (float(n * s) for n, s in zip(size, spacing, strict=True))
    return Box((-x / 2.0, -y / 2.0, -z / 2.0), (x, y, z))
