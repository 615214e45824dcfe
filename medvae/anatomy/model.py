"""The anatomy model: public people in poses and greys that a population's numbers say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy import place, versions
from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.drawing import OutputGrid, Pose, Renderer
from medvae.anatomy.drawing.given import repainted
from medvae.anatomy.numbers import Numbers, around
from medvae.anatomy.parts import EARLIER_SHAPE_SHARE, SHAPE_SHARE
from medvae.anatomy.patients import anatomy_of_patients, public_maps
from medvae.anatomy.registration import Alignment
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import LabelMap
from medvae.anatomy.templates import ReleasedMaps
from medvae.threads import one_thread

# A drawn deformation: so much of the drawn person's own, and the rest of another person's.
# Coefficients of one person belong together: drawn one by one they skew organs.
OWN: Final = 0.8
# Numbers farther than this from their mean, in standard deviations, are drawn again as this.
FARTHEST: Final = 2.5
_RELEASED: Final = "released."
_MAPS: Final = "maps."
_EARLIER: Final = "earlier."
_SHAPE_SHARE: Final = "shape_share"
_GREYS_APART: Final = "greys_apart"


@dataclass(frozen=True)
class AnatomyModel:
    """What draws synthetic subjects.

    Attributes:
        cohort: the library's entry, ready for the cohort; or the patients' own maps.
        numbers: of the population: public ones, or released ones.
        released: mechanism -> its noisy vector, before anything was made of it; audits compare
            patients with it. Empty in a public model.
        shape_share: part of the budget that the mean shape had in the joint vector of means.
        greys_apart: how many grey values had a part of their own in it; 0: none.
        earlier: numbers of the model that the training went on from, which patients' vectors are
            measured around; None: around public people.
    """

    cohort: CohortAnatomy
    numbers: Numbers
    released: Mapping[str, Array] = field(default_factory=dict)
    shape_share: float = SHAPE_SHARE
    earlier: Numbers | None = None
    greys_apart: int = 0

    def to_arrays(self) -> dict[str, Array]:
        """Numbers and releases by name, for a model file."""
        released = {f"{_RELEASED}{name}": values for name, values in self.released.items()}
        maps = self.cohort.maps
        own = {} if maps is None else maps.to_arrays()
        return {
            **self.numbers.to_arrays(),
            **released,
            **{f"{_MAPS}{name}": values for name, values in own.items()},
            **{f"{_EARLIER}{name}": values for name, values in self._earlier().items()},
            _SHAPE_SHARE: np.array(self.shape_share),
            _GREYS_APART: np.array(float(self.greys_apart)),
            **versions.facts(self.cohort),
        }

    @classmethod
    def read(cls, cohort: CohortAnatomy, arrays: Mapping[str, Array]) -> AnatomyModel:
        """Read back `to_arrays`, of this version or an earlier one.

        Raises:
            KeyError: a number is missing.
            IntegrityError: the numbers are those of no version.
        """
        released = _under(_RELEASED, arrays)
        if cohort.entry is None:
            maps = ReleasedMaps.read(public_maps(cohort.data), _under(_MAPS, arrays))
            cohort = anatomy_of_patients(cohort.data, cohort.drawn_spacing, maps)
        numbers = Numbers.from_arrays(arrays)
        share = float(arrays.get(_SHAPE_SHARE, EARLIER_SHAPE_SHARE))
        before = _under(_EARLIER, arrays)
        earlier = Numbers.from_arrays(before) if before else None
        cohort = versions.as_made(cohort, arrays, len(numbers.figures))
        apart = int(arrays.get(_GREYS_APART, 0.0))
        return cls(cohort, numbers, released, share, earlier, apart)

    @property
    def centre(self) -> Numbers:
        """What patients' vectors are measured around: public people, or an earlier model."""
        return self.cohort.numbers if self.earlier is None else around(self.earlier)

    def _earlier(self) -> dict[str, Array]:
        return {} if self.earlier is None else self.earlier.to_arrays()

    def draw(
        self, random: np.random.Generator, grid: OutputGrid | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """`draw_volume` without its affine."""
        image, mask, _ = self.draw_volume(random, grid)
        return image, mask

    def draw_volume(
        self,
        random: np.random.Generator,
        grid: OutputGrid | None = None,
        category: int | None = None,
        site: int | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], Array]:
        """One subject: [X, Y, Z] image in [-1, 1], labels 1..L of the cohort, [4, 4] affine.

        Of a cohort with channels the image is [C, X, Y, Z].

        grid: None: the cohort's own (see `CohortAnatomy.grid`).
        category: the subject's class (see `pick`); None: of no class.
        site: its site (see `pick_site`); None: of all sites.
        """
        numbers = self.numbers.of_class(category).of_site(site)
        people = self.cohort.people
        person, second = (int(random.integers(len(people))) for _ in range(2))
        placed = _normal(random, numbers.place, numbers.place_std, self.cohort.place_correlation)
        renderer = self.cohort.renderer
        figures = _figures(random, numbers, renderer)
        grid = grid or self.cohort.grid()
        if self.cohort.data.spacing is None:
            # The entry's whole box: patients' field of view decides nothing but its jitter.
            shift = numbers.place[place.SHIFT]
            placed[place.SHIFT] += self.cohort.box.centre - shift
        subject = replace(
            people[person],
            affine=place.affine_of(placed),
            coefficients=self._shape(numbers, people[person], people[second], random),
        )
        with one_thread():
            pose = Pose(subject, people[person])
            image, mask = renderer.draw(person, pose, grid, figures, random)
        return image, mask, grid.affine

    def draw_labels(
        self,
        random: np.random.Generator,
        labels: LabelMap,
        placed: Alignment,
        category: int | None = None,
        site: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """[X, Y, Z] image in [-1, 1] of given labels, on their own grid; of channels [C, X, Y, Z].

        Texture and what is not labelled are a public person's, in the place and shape of the
        labels (of released maps where there are no people); grey values are drawn.

        placed: of `CohortAnatomy.place_labels`.
        category, site: the class and site whose grey values are drawn; None: of none.
        """
        numbers = self.numbers.of_class(category).of_site(site)
        person = int(random.integers(len(self.cohort.people)))
        renderer = self.cohort.renderer
        figures = _figures(random, numbers, renderer)
        figures = renderer.of_given_labels(figures)
        x, y, z = labels.labels.shape
        grid = OutputGrid(labels.affine, (x, y, z))
        with one_thread():
            pose = Pose(placed, self.cohort.people[person])
            image, label_map = renderer.draw(person, pose, grid, figures, random)
        greys = renderer.greys(figures)
        if image.ndim == 3:
            return repainted(image, label_map, labels.labels, grid.spacing, greys)
        painted = [
            repainted(channel, label_map, labels.labels, grid.spacing, own)
            for channel, own in zip(image, greys, strict=True)
        ]
        return np.stack(painted)

    def _shape(
        self, numbers: Numbers, person: Alignment, second: Alignment, random: np.random.Generator
    ) -> Array:
        """[3, K] coefficients: the population's mean and two people's own deviations.

        Where there are no people, each coefficient is drawn by itself.
        """
        if self.cohort.entry is None:
            std = self.cohort.bands.spread(numbers.shape_std)
            return np.asarray(numbers.shape + std * random.standard_normal(std.shape))
        ratio = numbers.shape_std / self.cohort.numbers.shape_std
        own = OWN * person.coefficients
        if second is person:
            own = person.coefficients
        else:
            own = own + np.sqrt(1.0 - OWN**2) * second.coefficients
        return np.asarray(numbers.shape + self.cohort.bands.spread(ratio) * own)


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }


def _figures(random: np.random.Generator, numbers: Numbers, renderer: Renderer) -> Array:
    correlation = renderer.correlation_of(numbers)
    return _normal(random, numbers.figures, numbers.figures_std, correlation)


def _normal(random: np.random.Generator, mean: Array, std: Array, correlation: Array) -> Array:
    """Correlated normals, none of them farther than `FARTHEST` from its mean."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    deviation = root @ random.standard_normal(len(mean))
    return np.asarray(mean + std * np.clip(deviation, -FARTHEST, FARTHEST))
