"""Simulated cohorts of pictures whose parameters are hidden, of three kinds.

A world is drawn from public ranges by its number; its people are drawn from the world. Nothing here
was fitted to patients, and no generator is told a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import bench_images
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.cosines.basis import Basis
from pictures.cohort import Pictures

Grey = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, bool], Grey]
# Ranges of what is hidden; public.
RARER_CLASS: Final = (0.2, 0.5)
ORGANS: Final = 4
# Waves: slowest coefficients that go together, and deviation of a band's log power from the law.
TOGETHER, ODD_POWER = 24, 1.0


@dataclass(frozen=True)
class World:
    """One world: its kind, its edge in pixels, its number."""

    kind: str
    edge: int
    seed: int

    def people(self, count: int, part: int) -> Pictures:
        """`count` people of two classes; other parts have other people, the first stay the same."""
        hidden = np.random.default_rng([self.seed, self.edge, list(KINDS).index(self.kind)])
        rarer = hidden.uniform(*RARER_CLASS)
        draw = KINDS[self.kind](hidden, self.edge)
        of_people = np.random.default_rng(
            [self.seed, self.edge, list(KINDS).index(self.kind), part]
        )
        images = np.empty((count, 1, self.edge, self.edge), np.float32)
        classes = np.empty(count, np.int64)
        for place, image in enumerate(images):
            ill = bool(of_people.random() < rarer)
            image[0], classes[place] = draw(of_people, ill), ill
        case = bench_images.Case("", "xray", (self.edge, self.edge, 1), 2, False)
        empty = Pictures(images, classes, bench_images.configuration(case, 1.0).data)
        return empty.like(images, classes)


def waves(hidden: np.random.Generator, edge: int) -> Draw:
    """Cosines that go together in another way in each class, under a curve of grey values."""
    basis = Basis((edge, edge, 1))
    scale = np.sqrt(basis.law * np.exp(ODD_POWER * hidden.standard_normal(basis.bands))[basis.band])
    slowest = np.argsort(basis.radius, kind="stable")[:TOGETHER]
    mixed = [_mixing(hidden), _mixing(hidden)]
    mean = np.zeros((2, len(basis)))
    mean[:, slowest] = 0.7 * scale[slowest] * hidden.standard_normal(TOGETHER)
    apart = hidden.standard_normal(TOGETHER) / np.sqrt(TOGETHER)
    mean[1, slowest] += hidden.uniform(1.0, 2.0) * scale[slowest] * apart
    steep, bright = hidden.uniform(1.0, 2.5), hidden.normal(0.0, 0.3)

    def draw(random: np.random.Generator, ill: bool) -> Grey:
        normals = random.standard_normal(len(basis))
        normals[slowest] = mixed[ill] @ normals[slowest]
        image = basis.synthesise(mean[int(ill)] + scale * normals)[..., 0]
        return np.asarray(np.tanh(steep * image + bright))

    return draw


def _mixing(hidden: np.random.Generator) -> Grey:
    """A root of a covariance whose variances are from a fifth to five times the usual."""
    axes = np.linalg.qr(hidden.standard_normal((TOGETHER, TOGETHER)))[0]
    return np.asarray(axes * np.geomspace(5.0, 0.2, TOGETHER) ** 0.5)


def organs(hidden: np.random.Generator, edge: int) -> Draw:
    """A trunk and organs with borders; one organ is of another size and grey value in the ill."""
    body = _Body(hidden, edge)
    changed, larger = int(hidden.integers(1, ORGANS)), hidden.choice([-1.0, 1.0])
    size, grey = larger * hidden.uniform(0.1, 0.35), larger * hidden.uniform(0.05, 0.25)

    def draw(random: np.random.Generator, ill: bool) -> Grey:
        radii, greys = np.zeros(ORGANS), np.zeros(ORGANS)
        radii[changed], greys[changed] = ill * size, ill * grey
        return body.image(random, radii, greys)

    return draw


def lesions(hidden: np.random.Generator, edge: int) -> Draw:
    """The same trunks in both classes; the ill have one to three blurred spots in an organ."""
    body = _Body(hidden, edge)
    most, contrast = int(hidden.integers(1, 4)), hidden.uniform(0.4, 0.9)
    contrast, radius = contrast * hidden.choice([-1.0, 1.0]), hidden.uniform(0.1, 0.2)
    home = int(hidden.integers(1, ORGANS))

    def draw(random: np.random.Generator, ill: bool) -> Grey:
        image = body.image(random, np.zeros(ORGANS), np.zeros(ORGANS))
        for _ in range(ill * int(random.integers(1, most + 1))):
            place = body.middle[home] + random.uniform(-0.7, 0.7, 2) * body.radii[home]
            away = (body.x - place[0]) ** 2 + (body.y - place[1]) ** 2
            image = image + contrast * np.exp(-away / (2.0 * radius**2))
        return image

    return draw


class _Body:
    """A trunk with organs: ellipses whose place, size and grey value differ between people."""

    def __init__(self, hidden: np.random.Generator, edge: int) -> None:
        axis = np.linspace(-1.0, 1.0, edge)
        self.x, self.y = np.meshgrid(axis, axis, indexing="ij")
        self.middle = np.vstack([np.zeros(2), hidden.uniform(-0.45, 0.45, (ORGANS - 1, 2))])
        self.radii = np.vstack(
            [hidden.uniform(0.75, 0.95, 2), hidden.uniform(0.18, 0.4, (ORGANS - 1, 2))]
        )
        self.greys = np.append(hidden.uniform(0.3, 0.7), hidden.uniform(-0.8, 0.5, ORGANS - 1))
        self.moves, self.grows = hidden.uniform(0.02, 0.1), hidden.uniform(0.06, 0.2)
        self.shifts, self.brightens = hidden.uniform(0.02, 0.12), hidden.uniform(0.05, 0.2)
        self.softness = hidden.uniform(0.05, 0.2)
        self.grain, self.texture = hidden.uniform(0.4, 1.2), hidden.uniform(0.03, 0.1)

    def image(self, random: np.random.Generator, radii: Grey, greys: Grey) -> Grey:
        """[edge, edge] of one person.

        radii, greys: [ORGANS] added, as a part and as it is.
        """
        image = np.full(self.x.shape, -0.9)
        whole, bright = random.normal(1.0, self.grows), random.normal(0.0, self.brightens)
        shift = random.normal(0.0, self.shifts, 2)
        for organ in range(ORGANS):
            place = self.middle[organ] + shift + random.normal(0.0, self.moves, 2)
            reach = self.radii[organ] * whole * (1.0 + radii[organ])
            reach = reach * np.exp(random.normal(0.0, self.grows, 2))
            away = np.hypot((self.x - place[0]) / reach[0], (self.y - place[1]) / reach[1])
            inside = 1.0 / (1.0 + np.exp((away - 1.0) / self.softness))
            own = self.greys[organ] + greys[organ] + bright + random.normal(0.0, self.brightens / 2)
            image = image + inside * (own - image)
        noise = ndimage.gaussian_filter(random.standard_normal(image.shape), self.grain)
        return np.asarray(image + self.texture * noise / noise.std())


KINDS: Final[dict[str, Callable[[np.random.Generator, int], Draw]]] = {
    "waves": waves,
    "organs": organs,
    "lesions": lesions,
}
