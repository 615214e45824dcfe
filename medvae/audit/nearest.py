"""Which patients each synthetic volume is nearest to, beside patients that a model never saw.

Distances are those of the search for copies: of smoothed volumes, whatever their brightness and
contrast, mirrored or not. They hold no noise, and so stay in the tenant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.audit.embed import Embedded, distances, embed
from medvae.audit.run import FEWEST, gridded
from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.progress import SILENT, Progress
from medvae.volume import Volume

Array = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Neighbour:
    """The patients that one synthetic volume is nearest to.

    Attributes:
        number: of the volume, from 1, in the order in which they were drawn.
        subject, distance: the nearest patient; 0 for a copy, 1.41 where nothing is alike.
        next_subject, next_distance: the second nearest patient.
        mirrored: the volume is nearer with left and right exchanged.
        nearer: percentage of the patients of the comparison who are as near to a patient.
    """

    number: int
    subject: str
    distance: float
    next_subject: str
    next_distance: float
    mirrored: bool
    nearer: float


@dataclass(frozen=True)
class Neighbours:
    """All neighbours, the nearest first, and what they are compared with.

    Attributes:
        compared: patients of the comparison.
        unseen: they are patients that the model never saw; else each patient beside the others.
        usual, least: median and smallest distance of these to their nearest patient.
    """

    found: tuple[Neighbour, ...]
    compared: int
    unseen: bool
    usual: float
    least: float


def neighbours(
    synthetic: Iterable[Volume],
    members: Iterable[tuple[str, Volume]],
    *,
    data: DataConfig,
    others: Iterable[tuple[str, Volume]] = (),
    progress: Progress = SILENT,
) -> Neighbours:
    """Find them.

    Args:
        synthetic: volumes drawn from the model.
        members: (subject, volume) of the patients that it was trained on.
        data: the model's grid.
        others: (subject, volume) of patients that it never saw; with fewer than eight each member
            is compared with the other members instead.

    Raises:
        InputError: no synthetic volume, or fewer than eight members.
    """
    numbered = ((str(number), volume) for number, volume in enumerate(synthetic, 1))
    drawn = embed(gridded(numbered, data), "synthetic", progress)
    real = embed(gridded(members, data), "members'", progress)
    unseen = embed(gridded(others, data), "other patients'", progress)
    names = np.unique(real.subjects)
    if not len(drawn):
        raise InputError("there is no synthetic volume to compare")
    if len(names) < FEWEST:
        raise InputError(
            f"a comparison needs at least {FEWEST} patients, and there are {len(names)}"
        )
    enough = len(np.unique(unseen.subjects)) >= FEWEST
    usual = _of_patients(unseen if enough else real, real, leave_out=not enough)
    straight = _to_patients(drawn.whole(), real, names)
    mirrored = _to_patients(drawn.mirrored(), real, names)
    rows = _sorted(drawn.subjects, straight, mirrored, names, usual)
    return Neighbours(rows, len(usual), enough, float(np.median(usual)), float(usual.min()))


def _to_patients(vectors: npt.NDArray[np.float32], real: Embedded, names: Names) -> Array:
    """[n, patients] distance to the nearest volume of each."""
    between = distances(vectors, real.whole())
    return np.stack([between[:, real.subjects == name].min(axis=1) for name in names], axis=1)


def _of_patients(compared: Embedded, real: Embedded, leave_out: bool) -> Array:
    """[patients] distance of each to the nearest patient of the training, other than itself."""
    names = np.unique(real.subjects)
    near = np.minimum(
        _to_patients(compared.whole(), real, names), _to_patients(compared.mirrored(), real, names)
    )
    if leave_out:
        near[compared.subjects[:, None] == names[None, :]] = np.inf
    own = near.min(axis=1)
    each = np.unique(compared.subjects)
    return np.array([own[compared.subjects == name].min() for name in each])


def _sorted(
    numbers: Names, straight: Array, mirrored: Array, names: Names, usual: Array
) -> tuple[Neighbour, ...]:
    between = np.minimum(straight, mirrored)
    order = np.argsort(between, axis=1, kind="stable")
    rows = []
    for row, number in enumerate(numbers):
        first, second = order[row, :2]
        distance = float(between[row, first])
        rows.append(
            Neighbour(
                number=int(number),
                subject=str(names[first]),
                distance=distance,
                next_subject=str(names[second]),
                next_distance=float(between[row, second]),
                mirrored=bool(mirrored[row, first] < straight[row, first]),
                nearer=float((usual <= distance).mean() * 100),
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.distance, row.number)))
