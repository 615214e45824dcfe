"""Numbers of two trainings together are those of all their patients."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.anatomy.bands import Bands
from medvae.anatomy.continued import Continued
from medvae.anatomy.numbers import Numbers, around
from medvae.anatomy.parts import BY_SITE, CLASSES, MEANS, SPREADS

EARLIER, NEW = 30, 10
BANDS = Bands(np.array([0, 1, 1, 1]), 2)


def population(count: int, seed: int, shift: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"place": (12,), "shape": (3, 4), "figures": (5,)}
    return {
        name: shift + (1.0 + 0.2 * seed) * random.standard_normal((count, *shape))
        for name, shape in shapes.items()
    }


def numbers(people: dict[str, np.ndarray], centre: dict[str, np.ndarray] | None = None) -> Numbers:
    """Exact ones, of deviations from `centre`."""
    mean = {name: values.mean(axis=0) for name, values in people.items()}
    at = mean if centre is None else centre
    square = {name: ((values - at[name]) ** 2).mean(axis=0) for name, values in people.items()}
    square["shape"] = BANDS.mean(square["shape"])
    stds = {f"{name}_std": np.sqrt(values) for name, values in square.items()}
    return Numbers(**mean, **stds, figures_within=np.ones(5))


def test_means_and_spreads_are_those_of_all_patients():
    first, second = population(EARLIER, 1, 0.0), population(NEW, 2, 0.7)
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    wanted, earlier = numbers(both), numbers(first)
    continued = Continued(earlier, NEW / (NEW + EARLIER), BANDS)
    found = continued.joined(MEANS, continued.known, numbers(second))
    for name in ("place", "shape", "figures"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12)
    centre = {name: getattr(found, name) for name in first}
    found = continued.joined(SPREADS, found, numbers(second, centre))
    for name in ("place_std", "shape_std", "figures_std"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12)


def with_groups(numbers: Numbers, kind: str, shares: list[float], offset: float) -> Numbers:
    groups = len(shares)
    arrays = {f"{kind}_shares": np.array(shares)}
    for name in ("figures",) if kind == "site" else ("place", "shape", "figures"):
        value = getattr(numbers, name)
        arrays[f"{kind}_{name}"] = np.stack(
            [np.full_like(value, offset * number) for number in range(groups)]
        )
    return Numbers.from_arrays({**numbers.to_arrays(), **arrays})


@pytest.mark.parametrize(("kind", "mechanism"), [("class", CLASSES), ("site", BY_SITE)])
def test_groups_stay_where_they_are_while_the_mean_of_all_moves(kind, mechanism):
    first, second = numbers(population(EARLIER, 1, 0.0)), numbers(population(NEW, 2, 0.7))
    earlier = with_groups(first, kind, [0.9, 0.1], 2.0)
    continued = Continued(earlier, 0.25, BANDS)
    moved = continued.joined(MEANS, continued.known, second)
    key = f"{kind}_figures"
    np.testing.assert_allclose(
        moved.figures + getattr(moved, key), earlier.figures + getattr(earlier, key), rtol=1e-12
    )
    found = with_groups(moved, kind, [0.1, 0.9], 5.0)
    joined = continued.joined(mechanism, moved, found)
    np.testing.assert_allclose(getattr(joined, f"{kind}_shares"), [0.7, 0.3])
    # Of the second group three fourths are new patients.
    was, new, got = (getattr(one, key)[1] for one in (moved, found, joined))
    np.testing.assert_allclose(got, 0.25 * was + 0.75 * new, rtol=1e-12)


def test_people_differ_by_what_was_released_no_longer_by_what_is_public():
    earlier = numbers(population(EARLIER, 1, 0.0))
    np.testing.assert_array_equal(around(earlier).figures_within, earlier.figures_std)
