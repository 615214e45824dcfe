"""The private statistics that make the mean maps: layout, coarse and fine maps.

Each patient's vector holds the place and size of each label, or the cosines of his or her own maps,
around what is public or was released before. Patients are placed by the middle of their masks; for
the fine maps they are registered to what was released before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

import numpy as np

from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates.layout import NUMBERS, Layout
from medvae.anatomy.templates.maps import Templates
from medvae.anatomy.templates.measure import Shown, centred, placed, registered
from medvae.anatomy.templates.waves import LabelWaves

# The mechanisms, in order of release. The first three, in wide fields of view, release the same
# numbers, each round what the one before it has: patients differ by less and less from that, and so
# does the noise.
LAYOUT_MAPS: Final = "anatomy-layout"
PLACES_MAPS: Final = "anatomy-places"
SITES_MAPS: Final = "anatomy-sites"
COARSE_MAPS: Final = "anatomy-coarse"
FINE_MAPS: Final = "anatomy-fine"
# Clips: of the numbers of a label in the units of `Layout.scales`; of the mean and mean square of a
# scan, on the scale of -1 to 1, and their part of the budget of these mechanisms; of distances in
# `Layout.units`, times the law's weights; of pictures on the scale of -1 to 1; of logarithms of
# volumes. Half of a clip is what patients differ by round a released centre.
_PLACES: Final = {LAYOUT_MAPS: (1.7, 1.2), PLACES_MAPS: (1.0, 0.5), SITES_MAPS: (0.7, 0.3)}
GREYS_SHARE = 0.1
# One number of a label that is further out, in units of `Layout.scales`, leaves the others alone.
FURTHEST = 3.0
COARSE_REACH, FINE_REACH = 0.18, 0.10
# Where labels have boxes of their own, patients differ by half of that from ellipsoids in their
# place (40 heads, 30 abdomens: 51% of the clips above, 41 and 46% of the finer).
WIDE_COARSE_REACH, WIDE_FINE_REACH = 0.10, 0.055
IMAGE_REACH, SQUARE_REACH, VOLUME_REACH = 1.0, 0.5, 2.0
# A tissue of a smaller part of the view than that counts as so large (logarithm).
LEAST_TISSUE = float(np.log(0.01))


Seen = TypeVar("Seen")


def steps(layout: Layout) -> tuple[str, ...]:
    """The mechanisms of maps with this layout, in order of release."""
    maps = (COARSE_MAPS, FINE_MAPS)
    return (*_PLACES, *maps) if layout.wide else maps


class MapPart(Protocol):
    """A statistic of a patient's maps; as `Part`, but of maps and templates."""

    @property
    def name(self) -> str: ...
    @property
    def share(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def dimension(self) -> int: ...

    def measure(self, maps: Shown) -> Array:
        """[dimension] of one volume's maps."""

    def estimate(self, released: Array, sigma: float, state: Templates) -> Templates:
        """`state` with what a released mean vector [dimension] adds.

        sigma: noise deviation of each coordinate of `released`; 0: none.
        """


@dataclass(frozen=True)
class Places:
    """Mean place and size of each label; a label that is not there counts as known."""

    state: Templates
    reach: float
    share: float
    name: str = "places"

    @property
    def dimension(self) -> int:
        return self.state.labels * NUMBERS

    @property
    def clip(self) -> float:
        return self.reach * float(np.sqrt(self.dimension))

    def measure(self, maps: Shown) -> Array:
        layout = self.state.layout
        change = (maps.layout - layout.numbers) / layout.scales
        change = np.clip(change, -FURTHEST, FURTHEST)
        return np.where(np.isfinite(change), change, 0.0).reshape(-1)

    def estimate(self, released: Array, sigma: float, state: Templates) -> Templates:
        layout = state.layout
        # The posterior mean where a number differs from what is known by the reach.
        part = self.reach**2 / (self.reach**2 + sigma**2)
        change = part * released.reshape(-1, NUMBERS) * layout.scales
        return state.laid_out(replace(layout, numbers=layout.numbers + change))


@dataclass(frozen=True)
class Greys:
    """Mean and mean square of a scan's voxels: what mean pictures and squares are round."""

    state: Templates
    reach: float
    share: float
    name: str = "greys"

    @property
    def dimension(self) -> int:
        return 2 * self.state.channels

    @property
    def clip(self) -> float:
        return self.reach * float(np.sqrt(self.state.channels))

    def measure(self, maps: Shown) -> Array:
        return np.asarray(_known(maps.greys) - self._own)

    def estimate(self, released: Array, sigma: float, state: Templates) -> Templates:
        part = self.reach**2 / (self.reach**2 + sigma**2)
        means, mean_squares = np.split(self._own + part * released, 2)
        image, squares = state.image.copy(), state.square.copy()
        # Cosines have the mean square 1: the first one is 1 everywhere.
        image[:, 0] = np.clip(means, -1.0, 1.0)
        squares[:, 0] = np.clip(mean_squares, 0.0, 1.0)
        return replace(state, image=image, square=squares)

    @property
    def _own(self) -> Array:
        return np.concatenate([self.state.image[:, 0], self.state.square[:, 0]])


@dataclass(frozen=True)
class Distances:
    """Mean signed distances up to a frequency, around those of `state`."""

    state: Templates
    waves: LabelWaves
    reach: float
    share: float
    name: str = "distances"

    @property
    def dimension(self) -> int:
        return len(self.waves)

    @property
    def clip(self) -> float:
        return self.reach * float(np.sqrt(self.state.labels))

    def measure(self, maps: Shown) -> Array:
        own = self.waves.analyse(self.state.layout.in_units(_known(maps.distances)))
        change = own - self.state.distances[:, : own.shape[1]]
        return self.waves.weighted(change * maps.there[:, None])

    def estimate(self, released: Array, sigma: float, state: Templates) -> Templates:
        change = self.waves.above_noise(released, sigma, self.reach)
        distances = state.distances.copy()
        distances[:, : change.shape[1]] += change
        return replace(state, distances=distances)


@dataclass(frozen=True)
class Volumes:
    """Mean logarithm of labels' parts of the view; a label that is not there counts as known."""

    state: Templates
    share: float
    name: str = "volumes"

    @property
    def dimension(self) -> int:
        return self.state.labels

    @property
    def clip(self) -> float:
        return VOLUME_REACH * float(np.sqrt(self.state.labels))

    def measure(self, maps: Shown) -> Array:
        # A tissue that is not there fills nothing; of a label that is not there nothing is known.
        tissue = np.arange(self.dimension) >= self.state.organs
        parts = np.where(maps.there, maps.parts, LEAST_TISSUE)
        parts = np.where(tissue, np.maximum(parts, LEAST_TISSUE), parts)
        return np.where(maps.there | tissue, parts - self.state.volumes, 0.0)

    def estimate(self, released: Array, sigma: float, state: Templates) -> Templates:
        # The posterior mean where labels differ e-fold from what is known.
        return replace(state, volumes=state.volumes + released / (1.0 + sigma**2))


@dataclass(frozen=True)
class Image:
    """The mean picture of each channel."""

    state: Templates
    share: float
    name: str = "image"

    @property
    def clip(self) -> float:
        return IMAGE_REACH * self.state.contrast * float(np.sqrt(self.state.channels))

    @property
    def dimension(self) -> int:
        return self.state.image.size

    def measure(self, maps: Shown) -> Array:
        waves = self.state.pictures
        change = waves.analyse(_known(maps.picture)) - self.state.image
        return np.asarray(change * waves.weights).reshape(-1)

    def estimate(self, released: Array, sigma: float, state: Templates) -> Templates:
        waves = LabelWaves((state.pictures,) * state.channels)
        change = waves.above_noise(released, sigma, IMAGE_REACH * state.contrast)
        return replace(state, image=state.image + change)


@dataclass(frozen=True)
class Square:
    """The mean square of each channel's pictures."""

    state: Templates
    share: float
    name: str = "square"

    @property
    def clip(self) -> float:
        return SQUARE_REACH * self.state.contrast * float(np.sqrt(self.state.channels))

    @property
    def dimension(self) -> int:
        return self.state.square.size

    def measure(self, maps: Shown) -> Array:
        waves = self.state.squares
        change = waves.analyse(_known(maps.picture) ** 2) - self.state.square
        return np.asarray(change * waves.weights).reshape(-1)

    def estimate(self, released: Array, sigma: float, state: Templates) -> Templates:
        waves = LabelWaves((state.squares,) * state.channels)
        change = waves.above_noise(released, sigma, SQUARE_REACH * state.contrast)
        return replace(state, square=state.square + change)


def _parts(state: Templates, places: float, greys: float) -> tuple[MapPart, ...]:
    return (
        Places(state, places, 1.0 - GREYS_SHARE),
        Greys(state, greys * state.contrast, GREYS_SHARE),
    )


def _known(maps: Seen | None) -> Seen:
    if maps is None:
        raise ValueError("what is measured was not looked at")
    return maps


@dataclass(frozen=True)
class MapMechanism:
    """One mechanism of the maps.

    Attributes:
        name: in the plan.
        state: what is public or was released before.
        parts: what it releases, jointly.
        show: a scan's maps, in the frame that `state` gives.
    """

    name: str
    state: Templates
    parts: tuple[MapPart, ...]
    show: Callable[[Scan, Templates], Shown]

    @classmethod
    def of(cls, name: str, state: Templates) -> MapMechanism:
        """Mechanism `name` of `steps`, round what the one before it has released."""
        if name in _PLACES:
            reach, greys = _PLACES[name]
            return cls(name, state, _parts(state, reach, greys), placed)
        if name == COARSE_MAPS:
            if state.layout.wide:
                # Without volumes: the layout says them.
                distances = Distances(state, state.coarse, WIDE_COARSE_REACH, 1.0)
                return cls(name, state, (distances,), centred)
            own = (Distances(state, state.coarse, COARSE_REACH, 0.8), Volumes(state, 0.2))
            return cls(name, state, own, centred)
        if name == FINE_MAPS:
            reach = WIDE_FINE_REACH if state.layout.wide else FINE_REACH
            parts = (
                Distances(state, state.fine, reach, 0.45),
                Volumes(state, 0.15),
                Image(state, 0.3),
                Square(state, 0.1),
            )
            return cls(name, state, parts, registered)
        raise ValueError(f"no mechanism of the maps is called {name}")

    def prepare(self) -> None:
        """Build what patients are registered to, once and not in every thread that asks for it.

        Nothing where they are placed by the middle of their masks.
        """
        if self.show is registered:
            _ = self.state.template

    def vectors(self, scan: Scan) -> dict[str, Array] | None:
        """By part, the vector of one volume; None where it shows nothing, whatever is wrong."""
        try:
            maps = self.show(self.state.labelled(scan), self.state)
            return {part.name: part.measure(maps) for part in self.parts}
        except MemoryError:
            # A matter of the machine: resumed on a larger one, the run goes on.
            raise
        except Exception:  # noqa: BLE001
            # The budget is spent by now, so no patient's voxels may stop the run, and whether they
            # would have is private: the volume counts as none.
            return None
