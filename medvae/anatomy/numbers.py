"""What the anatomy model holds: means and deviations of place, shape and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from medvae.anatomy.registration.geometry import Array

# Of the variance of all patients, what is left to those of one class or site at least.
LEAST_WITHIN = 0.25


@dataclass(frozen=True)
class Numbers:
    """Means and standard deviations of a population; public ones, or released ones.

    Attributes:
        place, place_std: [12] (see `place`).
        shape: [3, K] mean whitened coefficients of the deformation.
        shape_std: [3, B] root mean square of the coefficients around their mean, by band.
        figures, figures_std: [F] what the entry's renderer measures.
        figures_within: [F] how much people of one cohort differ, publicly; where the mean is known,
            `figures_std` is near it.
        figures_error: [F] how much of `figures_std` is the error of the mean; empty where that is
            not distinguished from what people differ by.
        figures_noise: [F] noise deviation of the released mean, in public deviations; infinite
            where nothing was released. Empty with `figures_error`.
        class_shares: [C] how often each class is; empty where the cohort has no classes.
        class_place, class_shape, class_figures: [C, ...] what each class adds to the means.
        site_shares: [S] how much of the cohort each site has; empty where it has no sites.
        site_figures: [S, F] what each site adds to the figures of a volume's class.
    """

    place: Array
    place_std: Array
    shape: Array
    shape_std: Array
    figures: Array
    figures_std: Array
    figures_within: Array
    figures_error: Array = field(default_factory=lambda: np.zeros(0))
    figures_noise: Array = field(default_factory=lambda: np.zeros(0))
    class_shares: Array = field(default_factory=lambda: np.zeros(0))
    class_place: Array = field(default_factory=lambda: np.zeros(0))
    class_shape: Array = field(default_factory=lambda: np.zeros(0))
    class_figures: Array = field(default_factory=lambda: np.zeros(0))
    site_shares: Array = field(default_factory=lambda: np.zeros(0))
    site_figures: Array = field(default_factory=lambda: np.zeros(0))

    def with_error(self, error: Array, noise: Array | float) -> Numbers:
        """The same where [F] `error` of the figures' deviations is that of their mean.

        Without any error it is not distinguished.
        """
        if not error.any():
            return replace(self, figures_error=np.zeros(0), figures_noise=np.zeros(0))
        return replace(self, figures_error=error, figures_noise=noise + np.zeros_like(error))

    @property
    def classes(self) -> int:
        """How many classes there are; 0: none."""
        return len(self.class_shares)

    def pick(self, random: np.random.Generator) -> int | None:
        """A class, as often as released; None, and nothing drawn, without classes."""
        return int(random.choice(self.classes, p=self.class_shares)) if self.classes else None

    @property
    def sites(self) -> int:
        """How many sites there are; 0: none."""
        return len(self.site_shares)

    def pick_site(self, random: np.random.Generator) -> int | None:
        """A site, as often as released; None, and nothing drawn, without sites."""
        return int(random.choice(self.sites, p=self.site_shares)) if self.sites else None

    def of_site(self, site: int | None) -> Numbers:
        """The numbers of one site (after `of_class`): its figures, and less spread around them.

        None: of all sites.
        """
        if site is None:
            return self
        within = _within(self.figures_std, self.site_shares, self.site_figures)
        return replace(self, figures=self.figures + self.site_figures[site], figures_std=within)

    def of_class(self, category: int | None) -> Numbers:
        """The numbers of one class: its means, and what all differ by less what classes do.

        None: of all patients.
        """
        if category is None:
            return self
        return replace(
            self,
            place=self.place + self.class_place[category],
            shape=self.shape + self.class_shape[category],
            figures=self.figures + self.class_figures[category],
            place_std=_within(self.place_std, self.class_shares, self.class_place),
            figures_std=_within(self.figures_std, self.class_shares, self.class_figures),
        )

    def to_arrays(self) -> dict[str, Array]:
        """By name, for a model file."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        stored_names = _ALWAYS | (_OF_CLASSES if self.classes else set())
        stored_names |= _OF_SITES if self.sites else set()
        stored_names |= _OF_ERROR if len(self.figures_error) else set()
        # A model file holds finite numbers alone.
        noise = arrays["figures_noise"]
        arrays["figures_noise"] = np.where(np.isinf(noise), _NOT_RELEASED, noise)
        return {name: values for name, values in arrays.items() if name in stored_names}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Numbers:
        """Read back `to_arrays`. KeyError where one is missing."""
        names = set(_ALWAYS)
        for optional in (_OF_CLASSES, _OF_SITES, _OF_ERROR):
            names |= optional if optional & set(arrays) else set()
        values = {name: np.asarray(arrays[name]) for name in names}
        if "figures_noise" in values:
            noise = values["figures_noise"]
            values["figures_noise"] = np.where(noise == _NOT_RELEASED, np.inf, noise)
        return cls(**values)


# Noise of a figure of which nothing was released, in a model file.
_NOT_RELEASED = -1.0
_OF_CLASSES = {"class_shares", "class_place", "class_shape", "class_figures"}
_OF_SITES = {"site_shares", "site_figures"}
_OF_ERROR = {"figures_error", "figures_noise"}
_ALWAYS = {each.name for each in fields(Numbers)} - _OF_CLASSES - _OF_SITES - _OF_ERROR


def around(numbers: Numbers) -> Numbers:
    """A model's numbers as centre and units of further patients' statistics.

    People differ from them by what was released, no longer by what is known publicly.
    """
    known = numbers.with_error(np.zeros_like(numbers.figures), 0.0)
    return replace(known, figures_within=numbers.figures_std)


def _within(std: Array, shares: Array, changes: Array) -> Array:
    """[n] standard deviations in one group of several, of shares [C] and means [C, n] apart."""
    between = shares @ changes**2 - (shares @ changes) ** 2
    return np.asarray(np.sqrt(np.maximum(std**2 - between, LEAST_WITHIN * std**2)))
