"""What the anatomy model holds: means and deviations of place, shape and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from medvae.anatomy.registration.geometry import Array


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
    """

    place: Array
    place_std: Array
    shape: Array
    shape_std: Array
    figures: Array
    figures_std: Array
    figures_within: Array

    def to_arrays(self) -> dict[str, Array]:
        """By name, for a model file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Numbers:
        """Read back `to_arrays`. KeyError where one is missing."""
        return cls(**{field.name: np.asarray(arrays[field.name]) for field in fields(cls)})
