"""`release.Meter`: a release beside public people, and beside what they give with no patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medvae.api import baselines
from medvae.evaluate.likeness import LOOKED, Likeness, fit, look, shape
from medvae.progress import SILENT, Progress
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.anatomy.cohort import CohortAnatomy
    from medvae.config import DataConfig
    from medvae.release.quality import Part, Quality

LOOK = "look of images"
_UNSEEN = "How images look was not measured: that takes three public people with images."
# How often an image goes better with one of two label maps that have nothing to do with it.
_CHANCE = 0.5
# What of public people counts at least.
_LEAST_FIT = 0.75


@dataclass
class PublicMeter:
    """`release.Meter`: a release beside the people of an entry of the public library.

    Attributes:
        data: the release's grid, window and labels.
        against, source: the people, in words, and where they come from.
        people: of the entry; None: there is nobody to compare with, for the reason in `missing`.
        own: what the model draws from, where that is this entry: it says what its people alone
            give.
    """

    data: DataConfig
    people: Likeness | None = None
    against: str = ""
    source: str = ""
    missing: str = ""
    own: CohortAnatomy | None = None
    progress: Progress = SILENT
    made: Likeness = field(init=False)

    def __post_init__(self) -> None:
        self.made = self._set()

    def look(self, volume: Volume) -> None:
        self.made.add(volume)

    def quality(self) -> Quality:
        from medvae.release.quality import Quality

        looked = min(self.made.count, LOOKED)
        if self.people is None:
            return Quality("", looked, (), self.missing)
        alone = self._alone()
        parts_found = (_fit(self.made, self.people, alone), _shape(self.made, self.people, alone),
                 _look(self.made, self.people, alone))  # fmt: skip
        parts = tuple(part for part in parts_found if part is not None)
        missing = "" if parts else "the release holds too few volumes"
        is_looked_at = any(part.name == LOOK for part in parts)
        note = "" if is_looked_at or missing else _UNSEEN
        return Quality(self.against, looked, parts, missing, note, self.source)

    def _set(self) -> Likeness:
        has_looks = self.people is not None and bool(self.people.features)
        return Likeness(self.data, look=has_looks)

    def _alone(self) -> Likeness | None:
        """Volumes that the same generator draws of the entry's people, with no patient."""
        if self.own is None:
            return None
        drawn = self._set()
        for volume in baselines.drawn_people(self.own, LOOKED, self.progress):
            drawn.add(volume)
        return drawn


def _fit(volumes: Likeness, people: Likeness, alone: Likeness | None) -> Part | None:
    from medvae.release.quality import Part

    value = fit(volumes)
    if value is None:
        return None
    among = fit(people) if people.features else None
    # People whose images hardly go with their labels do not excuse a release that does no better.
    reference = 1.0 if among is None else max(among, _LEAST_FIT)
    beside = "doubled" if among is None else "over that of public people, at most 1"
    return Part(
        "fit of labels and images",
        "part of pairs in which an image goes better with its own label map than with another "
        "volume's; 1 is best, 0.5 is chance",
        value,
        among,
        None if alone is None else fit(alone),
        min(1.0, max(0.0, (value - _CHANCE) / (reference - _CHANCE))),
        f"fit of labels and images (what passes 0.5, {beside})",
    )


def _shape(volumes: Likeness, people: Likeness, alone: Likeness | None) -> Part | None:
    from medvae.release.quality import Part

    dice, among = shape(volumes, people), shape(people)
    if dice is None:
        return None
    # One person does not say how much people differ: then nothing is excused.
    reference = 1.0 if among is None else among
    beside = "" if among is None else " over that of public people among themselves, at most 1"
    return Part(
        "shape of labels",
        "mean Dice of label maps with those of public people, centre on centre; 1 is best",
        dice,
        among,
        None if alone is None else shape(alone, people),
        min(1.0, dice / max(reference, 1e-9)),
        f"shape of labels (Dice{beside})",
    )


def _look(volumes: Likeness, people: Likeness, alone: Likeness | None) -> Part | None:
    from medvae.release.quality import Part

    distance = look(volumes, people)
    if distance is None:
        return None
    return Part(
        LOOK,
        "distance to the nearest public person, over that between public people, in 46 texture "
        "features; 1 or less is best",
        distance,
        1.0,
        None if alone is None else look(alone, people),
        min(1.0, 1.0 / max(distance, 1e-9)),
        "look of images (1 over the distance, at most 1)",
    )
