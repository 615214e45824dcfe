"""A population's numbers refined by new patients, measured around an earlier model's.

The earlier numbers were released under a plan of their own, so to use them as centre and unit of
the new patients' statistics is post-processing. What noise hides of the new patients leaves the
earlier numbers as they are, where a first training falls back on public people. The result is that
of all patients of both, weighed by how many they are; who is in both counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers, around
from medvae.anatomy.parts import BY_SITE, CLASSES, MEANS, SPREADS
from medvae.anatomy.registration.geometry import Array

_MEANS = ("place", "shape", "figures")


@dataclass(frozen=True)
class Continued:
    """What a training goes on from.

    Attributes:
        numbers: of the earlier model.
        weight: how much of all patients the new ones are, in (0, 1); public.
        bands: of the entry's deformations.
    """

    numbers: Numbers
    weight: float
    bands: Bands

    @property
    def known(self) -> Numbers:
        """Centre and units of the new patients' statistics."""
        return around(self.numbers)

    def joined(self, mechanism: str, before: Numbers, new: Numbers) -> Numbers:
        """Numbers of all patients, after one mechanism of the new ones.

        before: of all patients, as known when it was released. new: what it says of the new
        patients alone.
        """
        joins = {
            MEANS: self._means,
            SPREADS: self._spreads,
            CLASSES: self._classes,
            BY_SITE: self._sites,
        }
        return joins[mechanism](before, new)

    def _means(self, before: Numbers, new: Numbers) -> Numbers:
        moved = {
            name: self.weight * (getattr(new, name) - getattr(before, name)) for name in _MEANS
        }
        changed = {name: getattr(before, name) + change for name, change in moved.items()}
        if before.classes:
            # Classes stay where they are while the mean of all moves.
            changed |= {
                f"class_{name}": getattr(before, f"class_{name}") - change
                for name, change in moved.items()
            }
        elif before.sites:
            changed["site_figures"] = before.site_figures - moved["figures"]
        return replace(before, **changed)

    def _spreads(self, before: Numbers, new: Numbers) -> Numbers:
        """The earlier patients deviate from the common mean by its change, too."""
        earlier, own = self.numbers, 1.0 - self.weight
        change = {name: (getattr(before, name) - getattr(earlier, name)) ** 2 for name in _MEANS}
        change["shape"] = self.bands.mean(change["shape"])
        stds = {}
        for name in _MEANS:
            key = f"{name}_std"
            of_earlier = getattr(earlier, key) ** 2 + change[name]
            stds[key] = np.sqrt(own * of_earlier + self.weight * getattr(new, key) ** 2)
        return replace(before, **stds)

    def _classes(self, before: Numbers, new: Numbers) -> Numbers:
        shares, weights = self._shares(before.class_shares, new.class_shares)
        names = [f"class_{name}" for name in _MEANS]
        return replace(before, class_shares=shares, **_towards(names, weights, before, new))

    def _sites(self, before: Numbers, new: Numbers) -> Numbers:
        shares, weights = self._shares(before.site_shares, new.site_shares)
        changed = _towards(["site_figures"], weights, before, new)
        return replace(before, site_shares=shares, **changed)

    def _shares(self, before: Array, new: Array) -> tuple[Array, Array]:
        """[C] shares of groups among all patients, and of the new patients within each group."""
        shares = (1.0 - self.weight) * before + self.weight * new
        return shares, self.weight * new / shares


def _towards(names: list[str], weights: Array, before: Numbers, after: Numbers) -> dict[str, Array]:
    """Arrays [C, ...] by name: each group on its way from `before` to `after` by its weight."""
    changed = {}
    for name in names:
        old, new = getattr(before, name), getattr(after, name)
        changed[name] = old + weights.reshape(-1, *[1] * (old.ndim - 1)) * (new - old)
    return changed
