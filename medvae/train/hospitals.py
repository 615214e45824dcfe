"""Numbers of the patients of several hospitals, from what each of them has released.

Each hospital measured its patients around one public entry, in its units, and released joint
vectors under a plan of its own. What is made of them here is post-processing of these releases: it
costs no privacy, and each patient keeps the guarantee of his or her hospital.

The vectors are added before anything is taken off them, with the weight of a hospital's part of all
patients. So the result is the pooled cohort's, whatever the hospitals differ by, and noise is taken
off by the deviation that it has in the sum. Of k equal hospitals that is the square root of k times
a pooled run's. Weights by noise alone would say less of small hospitals than their patients are,
and another cohort's mean; at one epsilon they would save little, for a hospital's own noise is
known to be as its number of patients: nothing where hospitals are of one size, and a seventh where
one is four times the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts import (
    CLASSES,
    MEANS,
    SPREADS,
    Part,
    class_parts,
    mean_parts,
    spread_parts,
)
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.related import Related
from medvae.privacy import joint
from medvae.train.second_moments import Around, moved

# In the order of their release.
MECHANISMS: Final = (MEANS, SPREADS, CLASSES)
_PLACE: Final = np.repeat([0, 1, 2], [3, 6, 3])


@dataclass(frozen=True)
class Public:
    """What all hospitals measured around.

    Attributes:
        centre: public people's numbers.
        bands: of the entry's deformations.
        greys: how many figures are grey values with a part of their own; 0: none.
        related: how figures go together; None: as if they did not.
        classes: of a volume; 0: none.
    """

    centre: Numbers
    bands: Bands
    greys: int = 0
    related: Related | None = None
    classes: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The mechanisms of a hospital."""
        return self.names_of(self.classes)

    @staticmethod
    def names_of(classes: int) -> tuple[str, ...]:
        """The mechanisms of a hospital whose volumes are of so many classes."""
        return MECHANISMS if classes else MECHANISMS[:-1]

    def parts(self, name: str, count: int) -> list[Part]:
        """The statistics of a mechanism; count: coefficients of the mean shape along each axis."""
        if name == MEANS:
            return mean_parts(
                self.centre, self.bands, count, related=self.related, greys=self.greys
            )
        if name == SPREADS:
            return spread_parts(self.centre, self.bands)
        return class_parts(self.centre, self.bands, self.classes)

    def count(self, released: Array) -> int:
        """Coefficients of the mean shape along each axis in a vector of `MEANS`.

        Raises:
            ValueError: no such vector has this length.
        """
        rest = len(released) - sum(
            part.dimension for part in mean_parts(self.centre, self.bands, None, greys=self.greys)
        )
        ends = np.cumsum(np.bincount(self.bands.of, minlength=self.bands.count))
        if rest % 3 or rest // 3 not in ends:
            raise ValueError(f"{MEANS} has {len(released)} numbers, which fits no mean shape")
        return rest // 3


@dataclass(frozen=True)
class Member:
    """One hospital.

    Attributes:
        digest: of what it released; members are added in the order of these.
        patients: N of its plan.
        released: mechanism -> its noisy joint vector.
        noise: mechanism -> deviation of the noise in each coordinate.
    """

    digest: str
    patients: int
    released: Mapping[str, Array]
    noise: Mapping[str, float]


@dataclass(frozen=True)
class _Noisy:
    """One statistic as released: values [D] and the deviation of their noise."""

    values: Array
    sigma: float


@dataclass(frozen=True)
class _Hospital:
    """A member with the numbers that it made of its releases alone.

    Attributes:
        weight: its part of all patients.
        count: coefficients of its mean shape along each axis.
    """

    weight: float
    count: int
    noisy: Mapping[str, _Noisy]
    numbers: Numbers


def alone(public: Public, member: Member) -> Numbers:
    """The numbers of one hospital's own model, as its training made them."""
    return _hospital(public, member, 1.0).numbers


def joined(public: Public, members: Sequence[Member]) -> Numbers:
    """The numbers of all hospitals' patients; those of one member are its own model's.

    Members whose noise leaves fewer coefficients of the mean shape decide how many the result has.

    Raises:
        ValueError: a vector has a length that no such release has.
    """
    total = sum(member.patients for member in members)
    hospitals = [
        _hospital(public, member, member.patients / total)
        for member in sorted(members, key=lambda member: member.digest)
    ]
    count = min(hospital.count for hospital in hospitals)
    ways: dict[str, Callable[[Part, Numbers], _Noisy]] = {
        MEANS: lambda part, _: _means(part, hospitals),
        SPREADS: lambda part, numbers: _spreads(part, numbers, hospitals, public),
        CLASSES: lambda part, numbers: _classes(part, numbers, hospitals, public),
    }
    numbers = public.centre
    for name in public.names:
        for part in public.parts(name, count):
            noisy = ways[name](part, numbers)
            numbers = part.estimate(noisy.values, noisy.sigma, numbers)
    return numbers


def _hospital(public: Public, member: Member, weight: float) -> _Hospital:
    count, numbers = public.count(member.released[MEANS]), public.centre
    noisy: dict[str, _Noisy] = {}
    for name in public.names:
        parts = public.parts(name, count)
        vector, released = joint.joined(parts), member.released[name]
        if released.shape != (vector.dimension,):
            raise ValueError(f"{name} has {len(released)} numbers, not {vector.dimension}")
        values = vector.split(released)
        for part in parts:
            sigma = vector.sigma(part.name, member.noise[name])
            noisy[part.name] = _Noisy(values[part.name], sigma)
            numbers = part.estimate(values[part.name], sigma, numbers)
    return _Hospital(weight, count, noisy, numbers)


def _summed(values: Iterable[tuple[float, Array, float]]) -> _Noisy:
    """Weighted sum of (weight, values [D], noise deviation)."""
    listed = list(values)
    total = np.sum([weight * vector for weight, vector, _ in listed], axis=0)
    return _Noisy(total, math.hypot(*(weight * sigma for weight, _, sigma in listed)))


def _means(part: Part, hospitals: Sequence[_Hospital]) -> _Noisy:
    def slowest(hospital: _Hospital) -> Array:
        values = hospital.noisy[part.name].values
        if part.name != "shape":
            return values
        return values.reshape(3, -1)[:, : part.dimension // 3].reshape(-1)

    return _summed(
        (hospital.weight, slowest(hospital), hospital.noisy[part.name].sigma)
        for hospital in hospitals
    )


def _spreads(
    part: Part, numbers: Numbers, hospitals: Sequence[_Hospital], public: Public
) -> _Noisy:
    """Second moments, which each hospital has around its own released means, around the joint."""
    kind = part.name.removesuffix("-spread")
    of_mean, of_spread = _units(kind, public)
    centre, groups = getattr(public.centre, kind), _groups(kind, public)
    at = (getattr(numbers, kind) - centre) / of_mean
    shown = [_shown(kind, hospital, public) for hospital in hospitals]
    mean = np.sum(
        [one.weight * values for one, (values, _) in zip(hospitals, shown, strict=True)], axis=0
    )
    common = Around(at, mean, groups)
    summed = []
    for hospital, (values, sigma) in zip(hospitals, shown, strict=True):
        own = Around((getattr(hospital.numbers, kind) - centre) / of_mean, values, groups)
        change, variance = moved(own, common, sigma, hospital.weight)
        scale = (of_mean / of_spread) ** 2
        change, variance = change * scale, variance * scale**2
        if kind == "shape":
            sizes = np.bincount(public.bands.of, minlength=public.bands.count)
            change = public.bands.mean(change).reshape(-1)
            variance = (public.bands.mean(variance) / sizes).reshape(-1)
        noisy = hospital.noisy[part.name]
        noise = math.hypot(noisy.sigma, math.sqrt(float(variance.mean())))
        summed.append((hospital.weight, noisy.values + change, noise))
    return _summed(summed)


def _units(kind: str, public: Public) -> tuple[Array, Array]:
    """What means and what second moments are released in."""
    std = getattr(public.centre, f"{kind}_std")
    if kind == "shape":
        std = public.bands.spread(std)
    return std, public.centre.figures_within if kind == "figures" else std


def _groups(kind: str, public: Public) -> npt.NDArray[np.intp]:
    """Of each number the group that noise is taken off together."""
    if kind == "place":
        return _PLACE
    if kind == "figures":
        return (np.arange(len(public.centre.figures)) >= public.greys).astype(np.intp)
    return np.broadcast_to(public.bands.of, public.centre.shape.shape).astype(np.intp)


def _shown(kind: str, hospital: _Hospital, public: Public) -> tuple[Array, Array]:
    """A hospital's released mean and its noise, both like the public one; 0 where none was."""
    if kind == "shape":
        values, sigma = np.zeros((2, *public.centre.shape.shape))
        noisy = hospital.noisy["shape"]
        values[:, : hospital.count] = noisy.values.reshape(3, -1)
        sigma[:, : hospital.count] = noisy.sigma
        return values, sigma
    names = ["greys", "figures"] if kind == "figures" and public.greys else [kind]
    parts = [hospital.noisy[name] for name in names]
    return (
        np.concatenate([part.values for part in parts]),
        np.concatenate([np.full(len(part.values), part.sigma) for part in parts]),
    )


def _classes(
    part: Part, numbers: Numbers, hospitals: Sequence[_Hospital], public: Public
) -> _Noisy:
    """Sums over each class, from a hospital's own means and units to the joint ones: exact."""
    kind = part.name.removeprefix("class-")
    if kind == "shares":
        return _summed((one.weight, one.noisy[part.name].values, one.noisy[part.name].sigma)
                       for one in hospitals)  # fmt: skip
    unit = _spread_of(kind, numbers, public)
    summed = []
    for hospital in hospitals:
        noisy, shares = hospital.noisy[part.name], hospital.noisy["class-shares"]
        own = _spread_of(kind, hospital.numbers, public)
        ratio = _slowest(own / unit, kind, part, public)
        apart = (getattr(hospital.numbers, kind) - getattr(numbers, kind)) / unit
        apart = _slowest(apart, kind, part, public)
        blocks = noisy.values.reshape(public.classes, -1) * ratio
        blocks = blocks + shares.values[:, None] * apart
        noise = math.hypot(
            noisy.sigma * math.sqrt(float((ratio**2).mean())),
            shares.sigma * math.sqrt(float((apart**2).mean())),
        )
        summed.append((hospital.weight, blocks.reshape(-1), noise))
    return _summed(summed)


def _spread_of(kind: str, numbers: Numbers, public: Public) -> Array:
    std: Array = getattr(numbers, f"{kind}_std")
    return public.bands.spread(std) if kind == "shape" else std


def _slowest(values: Array, kind: str, part: Part, public: Public) -> Array:
    """Of the shape, the coefficients that classes are compared in."""
    if kind != "shape":
        return values
    return values[:, : part.dimension // (3 * public.classes)].reshape(-1)
