"""Images with a place: what the search for stacks asks of slices of files and of frames alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from medvae.ingest import stacks


class Placed(Protocol):
    """One image with its place.

    Attributes:
        size: rows, columns and more that images of one stack have in common.
        spacing, orientation, position, thickness: as in the header, millimetres; None where
            they are not there.
        traits: one value for each of `Traits.names`.
        is_flat: it is one slice, not several in one image.
    """

    @property
    def size(self) -> tuple[int, ...]: ...
    @property
    def spacing(self) -> tuple[float, ...] | None: ...
    @property
    def orientation(self) -> tuple[float, ...] | None: ...
    @property
    def position(self) -> tuple[float, ...] | None: ...
    @property
    def thickness(self) -> float | None: ...
    @property
    def traits(self) -> tuple[str, ...]: ...
    @property
    def is_flat(self) -> bool: ...


P = TypeVar("P", bound=Placed)


@dataclass(frozen=True)
class Traits:
    """What may distinguish images of one place.

    Attributes:
        names: in the order in which they are tried.
        of_scans: those that no two passes of one scan differ in.
        of_passes: those that number the passes of one scan.
        apart: those that say that images are of two stacks, wherever these are.
        timed: those that are times in a cycle, which may differ from place to place.
        clocks: those that are times of day, in seconds.
        counters: those that number images; no two images of a scan have one in common.
    """

    names: tuple[str, ...]
    of_scans: frozenset[str]
    of_passes: frozenset[str]
    apart: frozenset[str] = frozenset()
    timed: frozenset[str] = frozenset({"trigger time"})
    clocks: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()


def along_normal(images: Sequence[Placed]) -> stacks.Positions:
    """[N] positions along the first image's normal, millimetres; all must have a place."""
    orientation = np.array(images[0].orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    along: stacks.Positions = np.array([image.position for image in images], np.float64) @ normal
    return along


def thicknesses(images: Sequence[Placed]) -> stacks.Positions:
    """[N] in millimetres, NaN where unknown."""
    return np.array([math.nan if image.thickness is None else image.thickness for image in images])


def parted(images: Sequence[P], key: Callable[[P], Hashable]) -> list[list[P]]:
    """Images by what a key says of them, in the order of the first of each."""
    parts: dict[Hashable, list[P]] = {}
    for image in images:
        parts.setdefault(key(image), []).append(image)
    return list(parts.values())


def alike(images: Sequence[P], same: Callable[[P, P], bool]) -> list[list[P]]:
    """Groups of images that are alike to the first of each."""
    groups: list[list[P]] = []
    for image in images:
        for group in groups:
            if same(group[0], image):
                group.append(image)
                break
        else:
            groups.append([image])
    return groups


def same_direction(image: Placed, other: Placed) -> bool:
    """Whether the directions of two images are spellings of one; or both have none."""
    if image.orientation is None or other.orientation is None:
        return image.orientation is other.orientation
    pairs = zip(image.orientation, other.orientation, strict=True)
    return max(abs(a - b) for a, b in pairs) <= stacks.SAME_DIRECTION


def same_spacing(image: Placed, other: Placed) -> bool:
    """Whether the spacings of two images are spellings of one; or both have none."""
    if image.spacing is None or other.spacing is None:
        return image.spacing is other.spacing
    pairs = zip(image.spacing, other.spacing, strict=True)
    return max(abs(a - b) for a, b in pairs) <= stacks.SAME_SPACING * max(image.spacing)
