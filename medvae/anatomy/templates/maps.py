"""What a cohort without public people is drawn from: released mean maps of its own patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medvae.anatomy.organs import LIMIT_MM
from medvae.anatomy.registration import Settings, Template, signed_distances
from medvae.anatomy.registration.geometry import Array, Box, BoxGrid
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates.automatic import AutomaticTissues
from medvae.anatomy.templates.layout import VOXELS, Layout
from medvae.anatomy.templates.tissues import Tissues
from medvae.anatomy.templates.waves import LabelWaves, Waves

# Cosines of the maps, in cycles per edge of a label's box or of the field of view, and how patients
# differ in them (see `Waves.law`): of distances where patients are placed by the middle of their
# masks, of distances and pictures of registered ones, and of squares of pictures. Faster ones of a
# mean hold next to nothing. Corner and slope are those of 24 hearts and of 24 hippocampi alike.
COARSE, FINE, IMAGE, SQUARE = 2.0, 3.5, 4.0, 1.5
COARSE_LAW, FINE_LAW, IMAGE_LAW = (1.0, 3.0), (2.0, 3.0), (1.0, 1.5)
# Cosines of distances are those of a cube of side 1, which each label's box is stretched to.
_CUBE = Box((-0.5, -0.5, -0.5), (1.0, 1.0, 1.0))
# Mean square of a picture of which nothing is known: even over -1 to 1.
PUBLIC_SQUARE = 1.0 / 3.0
# A patient's distances differ by so much from a template that is in its place, in mm.
DISTANCE_STD_MM, BODY_STD_MM = 3.0, 6.0
# A picture varies at least by so much round its mean, on the scale of -1 to 1.
LEAST_SPREAD = 0.05
# Noise makes mean distances flat and thin labels vanish; borders are moved by at most so many mm
# until each label is as large as released.
MOST_MOVED_MM = 40.0
_ROUNDS = 6


@dataclass(frozen=True)
class Templates:
    """Mean maps; public ones (balls in grey), or released ones.

    Attributes:
        layout: where labels are; their boxes.
        distances: [L, K] signed distances in `Layout.units`, on each label's box.
        volumes: [L] logarithm of each label's part of the field of view.
        image: [C, J] mean picture of each channel, on the scale of -1 to 1.
        square: [C, S] mean square of pictures.
        tissues: what a picture shows without a mask; its maps come after those of the labels, and
            `image` and `square` are of what is left of the picture without them.
        automatic: what labels are where patients have no masks; None: their masks have them.
    """

    layout: Layout
    distances: Array
    volumes: Array
    image: Array
    square: Array
    tissues: Tissues | None = None
    automatic: AutomaticTissues | None = None

    @classmethod
    def public(
        cls,
        box: Box,
        organs: int,
        tissues: Tissues | None = None,
        automatic: AutomaticTissues | None = None,
        channels: int = 1,
    ) -> Templates:
        """Nothing of any patient: balls in a mean grey that varies.

        Args:
            box: the declared field of view, in mm, the middle at the origin.
            organs: how many labels the cohort has.
            tissues: what a picture shows without a mask.
            automatic: what these labels are where patients have no masks.
            channels: of a picture.
        """
        labels = organs + (0 if tissues is None else len(tissues.names))
        layout = Layout.public(box, organs, labels - organs)
        nothing = np.zeros((1, 1))
        templates = cls(layout, nothing, layout.parts, nothing, nothing, tissues, automatic)
        templates = templates.laid_out(layout)
        image, square = (
            np.zeros((channels, len(templates.pictures))),
            np.zeros((channels, len(templates.squares))),
        )
        square[:, 0] = PUBLIC_SQUARE
        if tissues is not None:
            image[:, 0], square[:, 0] = tissues.soft, tissues.soft**2 + tissues.varies**2
        return replace(templates, image=image, square=square)

    def laid_out(self, layout: Layout) -> Templates:
        """Ellipsoids of a layout, with these pictures."""
        bare = replace(self, layout=layout, volumes=layout.parts)
        return replace(bare, distances=bare.fine.analyse(layout.in_units(layout.ellipsoids())))

    def labelled(self, scan: Scan) -> Scan:
        """A scan with the labels that these maps are of."""
        return scan if self.automatic is None else self.automatic.labelled(scan)

    @property
    def box(self) -> Box:
        """The declared field of view."""
        return self.layout.view

    @property
    def grid(self) -> BoxGrid:
        """The grid of the label map."""
        return self.box.grid(self.box.edge / VOXELS)

    @property
    def contrast(self) -> float:
        """By which part of the whole scale grey values of pictures may differ."""
        return 1.0 if self.tissues is None else 2.0 * self.tissues.varies

    @property
    def labels(self) -> int:
        """How many maps there are, tissues included."""
        return len(self.distances)

    @property
    def channels(self) -> int:
        """How many channels a picture has."""
        return len(self.image)

    @property
    def organs(self) -> int:
        """How many labels the cohort has."""
        return self.layout.organs

    @cached_property
    def coarse(self) -> LabelWaves:
        """Waves of distances, for patients who are aligned by the centres of their masks."""
        return self._waves(COARSE, COARSE_LAW)

    @cached_property
    def fine(self) -> LabelWaves:
        """Waves of distances, with full detail."""
        return self._waves(FINE, FINE_LAW)

    def _waves(self, fastest: float, law: tuple[float, float]) -> LabelWaves:
        """As fine as that for labels; tissues have the slowest waves alone."""
        return LabelWaves(
            tuple(
                Waves(self.box if large else _CUBE, fastest if label < self.organs else COARSE, law)
                for label, large in enumerate(self.layout.large)
            )
        )

    @cached_property
    def pictures(self) -> Waves:
        """Waves of the mean image."""
        return Waves(self.box, IMAGE, IMAGE_LAW)

    @cached_property
    def squares(self) -> Waves:
        """Waves of the mean squared image."""
        return Waves(self.box, SQUARE, IMAGE_LAW)

    @cached_property
    def sharp(self) -> npt.NDArray[np.float32]:
        """[L, X, Y, Z] distances of the map in which each label is as large as released.

        A mean of distances is flatter than distances are: patients would be enlarged until they
        fit it.
        """
        units = self.layout.units.astype(np.float32)
        distances = self.fine.synthesise(self.distances)
        own = [distance * unit for distance, unit in zip(distances, units, strict=True)]
        means = self.layout.in_view(self.layout.within(own), self.grid)
        # No label is larger than the box, whatever noise says.
        parts, spacing = np.exp(np.minimum(self.volumes, 0.0)), self.grid.spacing
        # Automatic tissues are each within the one before it: none takes voxels from another.
        count = self.organs if self.automatic is None else 0
        maps = []
        if count:
            organs = as_large(means[:count], parts[:count])
            nearest = organs.argmin(axis=0) + 1
            labels = np.where(organs.min(axis=0) < 0.0, nearest, 0).astype(np.uint8)
            maps.append(signed_distances(labels, range(1, count + 1), spacing, LIMIT_MM))
        for tissue in range(count, self.labels):
            # A tissue reaches behind the labels and the other tissues.
            (enlarged,) = as_large(means[tissue : tissue + 1], parts[tissue : tissue + 1])
            maps.append(signed_distances(enlarged < 0.0, (True,), spacing, LIMIT_MM))
        return np.concatenate(maps)

    @cached_property
    def template(self) -> Template:
        """What a patient's distances are registered to: the labels, and the body where it shows.

        Organs that lie in one plane leave rotations open, which the body does not.
        """
        stds = np.full(len(self.compared), DISTANCE_STD_MM)
        stds[self.organs :] = BODY_STD_MM
        return Template(self.box, self.sharp[self.compared], "distances", stds)

    @property
    def angles(self) -> Sequence[float]:
        """Starting rotations of patients about the third axis, in rad.

        In a wide field of view patients lie as the scanner has them, and a few organs that are not
        quite in place look turned.
        """
        return (0.0,) if self.layout.wide else Settings.angles

    @property
    def compared(self) -> list[int]:
        """Which maps patients are registered by."""
        body = [] if self.tissues is None else [self.labels - 1]
        return [*range(self.organs), *body]

    def picture(self) -> npt.NDArray[np.float32]:
        """[2 C, X, Y, Z] mean pictures, and how much pictures differ from them (deviations)."""
        mean = np.clip(self.pictures.synthesise(self.image), -1.0, 1.0)
        square = self.squares.synthesise(self.square)
        # The part of the mean's own square that the slower waves of `square` hold.
        own = self.squares.synthesise(self.squares.analyse(mean**2))
        # No variable between -1 and 1 varies more than that (Bhatia and Davis 2000): air is air.
        variance = np.minimum(square - own, 1.0 - mean**2)
        deviation = np.sqrt(np.maximum(variance, LEAST_SPREAD**2))
        return np.concatenate([mean, deviation]).astype(np.float32)

    def to_arrays(self) -> dict[str, Array]:
        """By name, for a model file; the field of view follows from the configuration."""
        return {"layout": self.layout.numbers, **{name: getattr(self, name) for name in _NAMES}}

    def read(self, arrays: Mapping[str, Array]) -> Templates:
        """These templates with the maps of `to_arrays`. KeyError where one is missing."""
        fields = {name: np.asarray(arrays[name]) for name in _NAMES}
        layout = replace(self.layout, numbers=np.asarray(arrays["layout"]))
        return Templates(layout, **fields, tissues=self.tissues, automatic=self.automatic)


_NAMES = ("distances", "volumes", "image", "square")


def as_large(distances: npt.NDArray[np.float32], parts: Array) -> npt.NDArray[np.float32]:
    """Distances [L, X, Y, Z], each moved by a constant so that labels fill their parts of the box.

    A voxel has the label of the smallest distance, where that is negative.

    parts: [L] of the box.
    """
    moved = np.zeros(len(distances))
    for _ in range(_ROUNDS):
        for label, fraction in enumerate(parts):
            nearest_other = np.minimum.reduce(
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
            lead = np.sort((distances[label] - nearest_other).ravel())
            last = min(max(round(fraction * lead.size), 0), lead.size - 1)
            moved[label] = np.clip(lead[last], -MOST_MOVED_MM, MOST_MOVED_MM)
    return np.asarray(distances - moved[:, None, None, None], np.float32)


def box_of(size: Sequence[int], spacing: Sequence[float]) -> Box:
    """The declared field of view, the middle at the origin."""
    x, y, z = (float(n * s) for n, s in zip(size, spacing, strict=True))
    return Box((-x / 2.0, -y / 2.0, -z / 2.0), (x, y, z))
