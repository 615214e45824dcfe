"""Images of several passes of one scan, distinguished by the order in which they were made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from medvae.ingest import stacks
from medvae.ingest.placed import P, along_normal

# So many images of a place whose times are even to this part of a step are phases of a cycle.
FEWEST_PHASES, UNEVEN_PHASES = 3, 0.1
# So many slices show an order; two lie in one whatever they are.
FEWEST_OF_A_PASS = 3
DAY = 86400.0

Numbers = npt.NDArray[np.float64]


def of_a_cycle(stack: Sequence[P], at: int) -> list[list[P]]:
    """Images of a cycle whose times differ from place to place: the first ones, the second, ...

    Args:
        stack: by place.
        at: the trait that is the time, in milliseconds.

    Returns:
        Nothing where places have different numbers of images, or times that are of no cycle.
    """
    places = _by_place(stack)
    if len(places[0]) < FEWEST_PHASES or (times := _ordered(places, at)) is None:
        return []
    steps = np.diff(times, axis=1)
    even = steps.mean(axis=1, keepdims=True)
    # Times are rounded to milliseconds.
    if (np.abs(steps - even) > 1.0 + UNEVEN_PHASES * even).any():
        return []
    return _passes(places, at)


def one_after_another(stack: Sequence[P], at: int) -> list[list[P]]:
    """Images of which several lie at each place: the first one of each, the second, ...

    Args:
        stack: by place.
        at: the trait that counts them, or the time of day in seconds.

    Returns:
        Nothing where places have different numbers of images, or where neither one pass follows
        the other nor one place the other, so that the order does not distinguish the passes.
    """
    places = _by_place(stack)
    if len(places) < FEWEST_OF_A_PASS or len(places[0]) < 2:
        return []
    if (numbers := _ordered(places, at)) is None:
        return []
    by_pass = (numbers[:, :-1].max(axis=0) < numbers[:, 1:].min(axis=0)).all()
    rising = numbers[np.argsort(numbers[:, 0])]
    by_place = (rising[:-1, -1] < rising[1:, 0]).all()
    return _passes(places, at) if by_pass or by_place else []


def runs(stack: Sequence[P], at: int) -> list[list[P]]:
    """Images at places of their own that were made in several runs along the stack.

    Args:
        stack: by place.
        at: as of `one_after_another`.

    Returns:
        The runs, each by place; nothing where the order is one run, or none at all.
    """
    numbers = clock([image.traits[at] for image in stack])
    if numbers is None or len(set(numbers.tolist())) < len(stack):
        return []
    order = np.argsort(numbers)
    found: list[list[int]] = [[int(order[0])]]
    for index in order[1:].tolist():
        run = found[-1]
        if len(run) > 1 and (run[1] > run[0]) != (index > run[-1]):
            found.append([])
        found[-1].append(index)
    if len(found) < 2 or any(len(run) < FEWEST_OF_A_PASS for run in found):
        return []
    return [[stack[index] for index in sorted(run)] for run in found]


def clock(values: Sequence[str]) -> Numbers | None:
    """[N] numbers in their order, times of day across midnight too; None where one is missing."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    if numbers.size and DAY / 2 < numbers.max() - numbers.min() < DAY:
        numbers[numbers < numbers.max() - DAY / 2] += DAY
    return numbers


def _by_place(stack: Sequence[P]) -> list[list[P]]:
    along = along_normal(stack)
    ends = np.flatnonzero(np.diff(along) > stacks.same_place(along)) + 1
    return [list(stack[a:b]) for a, b in pairwise([0, *ends.tolist(), len(stack)])]


def _numbers(places: Sequence[Sequence[P]], at: int) -> Numbers | None:
    """[places, images of each]; None where places have different numbers of images."""
    count = len(places[0])
    if any(len(place) != count for place in places):
        return None
    numbers = clock([image.traits[at] for place in places for image in place])
    return None if numbers is None else numbers.reshape(-1, count)


def _ordered(places: Sequence[Sequence[P]], at: int) -> Numbers | None:
    """`_numbers`, rising at each place; None where two of one place are equal."""
    numbers = _numbers(places, at)
    if numbers is None:
        return None
    numbers = np.sort(numbers, axis=1)
    return None if (np.diff(numbers, axis=1) <= 0).any() else numbers


def _passes(places: Sequence[Sequence[P]], at: int) -> list[list[P]]:
    numbers = _numbers(places, at)
    assert numbers is not None, "_ordered has looked"
    order = np.argsort(numbers, axis=1)
    return [
        [place[own[n]] for place, own in zip(places, order, strict=True)]
        for n in range(order.shape[1])
    ]
