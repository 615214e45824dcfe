"""The private statistics that make the mean maps: two mechanisms, coarse and fine.

Each patient's vector holds the cosines of his or her own maps, around what is public or was
released before. Patients of the first mechanism are placed by the middle of their masks; the second
one's are registered to what the first has released.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.scan import Scan
from medvae.anatomy.templates.maps import Templates
from medvae.anatomy.templates.measure import Maps, centred, registered
from medvae.anatomy.templates.waves import Waves

# The mechanisms, in order of release.
COARSE_MAPS: Final = "anatomy-coarse"
FINE_MAPS: Final = "anatomy-fine"
# Clips: of the distances as a part of the box's edge, which is taken as this at most, in units of
# the law's weights; of pictures on the scale of -1 to 1; of logarithms of volumes. Half of a clip
# is what patients differ by round a released centre.
WIDEST_MM: Final = 110.0
COARSE_REACH, FINE_REACH = 0.18, 0.10
IMAGE_REACH, SQUARE_REACH, VOLUME_REACH = 1.0, 0.5, 2.0


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

    def measure(self, maps: Maps) -> Array:
        """[dimension] of one volume's maps."""

    def estimate(self, released: Array, sigma: float, known: Templates) -> Templates:
        """`known` with what a released mean vector [dimension] adds.

        sigma: noise deviation of each coordinate of `released`; 0: none.
        """


@dataclass(frozen=True)
class Distances:
    """Mean signed distances up to a frequency, around those of `known`."""

    known: Templates
    waves: Waves
    reach: float
    share: float
    name: str = "distances"

    @property
    def dimension(self) -> int:
        return self.known.labels * len(self.waves)

    @property
    def clip(self) -> float:
        edge = min(self.known.box.edge, WIDEST_MM)
        return self.reach * edge * float(np.sqrt(self.known.labels))

    def measure(self, maps: Maps) -> Array:
        own = self.waves.analyse(maps[: self.known.labels])
        change = own - self.known.distances[:, : len(self.waves)]
        return np.asarray((change * self.waves.weights).reshape(-1))

    def estimate(self, released: Array, sigma: float, known: Templates) -> Templates:
        change = self.waves.above_noise(released.reshape(known.labels, -1), sigma)
        return replace(known, distances=known.distances + known.fine.extended(change))


@dataclass(frozen=True)
class Volumes:
    """Mean logarithm of each label's part of the box; a label that is not there counts as known."""

    known: Templates
    share: float
    name: str = "volumes"

    @property
    def dimension(self) -> int:
        return self.known.labels

    @property
    def clip(self) -> float:
        return VOLUME_REACH * float(np.sqrt(self.known.labels))

    def measure(self, maps: Maps) -> Array:
        part = (maps[: self.known.labels] < 0).mean(axis=(1, 2, 3))
        there = part > 0
        change = np.log(np.where(there, part, 1.0)) - self.known.volumes
        return np.where(there, change, 0.0)

    def estimate(self, released: Array, sigma: float, known: Templates) -> Templates:
        # The posterior mean where labels differ e-fold from balls.
        return replace(known, volumes=known.volumes + released / (1.0 + sigma**2))


@dataclass(frozen=True)
class Image:
    """The mean picture."""

    known: Templates
    share: float
    name: str = "image"
    clip: float = IMAGE_REACH

    @property
    def dimension(self) -> int:
        return len(self.known.pictures)

    def measure(self, maps: Maps) -> Array:
        waves = self.known.pictures
        return np.asarray((waves.analyse(maps[-1:])[0] - self.known.image[0]) * waves.weights)

    def estimate(self, released: Array, sigma: float, known: Templates) -> Templates:
        change = known.pictures.above_noise(released[None], sigma)
        return replace(known, image=known.image + change)


@dataclass(frozen=True)
class Square:
    """The mean square of pictures."""

    known: Templates
    share: float
    name: str = "square"
    clip: float = SQUARE_REACH

    @property
    def dimension(self) -> int:
        return len(self.known.squares)

    def measure(self, maps: Maps) -> Array:
        waves = self.known.squares
        own = waves.analyse(maps[-1:] ** 2)[0]
        return np.asarray((own - self.known.square[0]) * waves.weights)

    def estimate(self, released: Array, sigma: float, known: Templates) -> Templates:
        change = known.squares.above_noise(released[None], sigma)
        return replace(known, square=known.square + change)


@dataclass(frozen=True)
class MapMechanism:
    """One mechanism of the maps.

    Attributes:
        name: in the plan.
        known: what is public or was released before.
        parts: what it releases, jointly.
        show: a scan's maps, in the frame that `known` gives.
    """

    name: str
    known: Templates
    parts: tuple[MapPart, ...]
    show: Callable[[Scan, Templates], Maps]

    @classmethod
    def coarse(cls, public: Templates) -> MapMechanism:
        """Of patients who are placed by the middle of their masks."""
        parts = (Distances(public, public.coarse, COARSE_REACH, 0.8), Volumes(public, 0.2))
        return cls(COARSE_MAPS, public, parts, centred)

    @classmethod
    def fine(cls, coarse: Templates) -> MapMechanism:
        """Of patients who are registered to what the first has released."""
        parts = (
            Distances(coarse, coarse.fine, FINE_REACH, 0.45),
            Volumes(coarse, 0.15),
            Image(coarse, 0.3),
            Square(coarse, 0.1),
        )
        return cls(FINE_MAPS, coarse, parts, registered)

    def vectors(self, scan: Scan) -> dict[str, Array] | None:
        """By part, the vector of one volume; None where it shows nothing, whatever is wrong."""
        try:
            maps = self.show(scan, self.known)
            return {part.name: part.measure(maps) for part in self.parts}
        except MemoryError:
            # A matter of the machine: resumed on a larger one, the run goes on.
            raise
        except Exception:  # noqa: BLE001
            # The budget is spent by now, so no patient's voxels may stop the run, and whether they
            # would have is private: the volume counts as none.
            return None
