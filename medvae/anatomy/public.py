"""What public people alone say: the numbers that private ones are deviations from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvae.anatomy import place
from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.registration import Alignment
from medvae.anatomy.registration.geometry import Array

# How many people a typical deviation counts like, beside those that an entry has.
PRIOR_PEOPLE = 4.0
# Typical root mean square of a whitened coefficient: the public law is that of all frequencies.
TYPICAL_SHAPE = 0.3


def public_numbers(
    people: Sequence[Alignment], centres: Sequence[Array], figures: tuple[Array, Array, Array]
) -> Numbers:
    """Numbers of an entry's people.

    Args:
        people: their alignments, on one box.
        centres: [3] scanner mm of the middle of each person's field of view.
        figures: [F] mean, standard deviation, and that within a cohort, as the renderer says.
    """
    places = np.stack(
        [place.place_of(person.affine, at) for person, at in zip(people, centres, strict=True)]
    )
    shapes = np.stack([person.coefficients for person in people])
    bands = Bands.of_basis(people[0].basis)
    square = bands.mean((shapes**2).mean(axis=0))
    return Numbers(
        places.mean(axis=0),
        _shrunk(places, place.typical(people[0].box.edge)),
        np.zeros(shapes.shape[1:]),
        np.sqrt(_weighted(square, TYPICAL_SHAPE**2, len(people))),
        *figures,
    )


def _shrunk(values: Array, typical: Array) -> Array:
    """[...] standard deviations of [P, ...] toward typical ones."""
    return np.asarray(np.sqrt(_weighted(values.var(axis=0), typical**2, len(values))))


def _weighted(variance: Array, typical: Array | float, people: int) -> Array:
    return np.asarray((people * variance + PRIOR_PEOPLE * typical) / (people + PRIOR_PEOPLE))
