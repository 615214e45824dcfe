"""Releases of several hospitals make the numbers of all their patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts import MEANS, SPREADS, Measured
from medvae.privacy import joint
from medvae.train import hospitals
from medvae.train.hospitals import Member, Public
from medvae.train.second_moments import Around, moved
from tests.anatomy.test_parts import BANDS, PUBLIC, K

# Bands of the mean shape end here.
COUNT = int(np.bincount(BANDS.of)[:2].sum())
WITH_CLASSES = Public(PUBLIC, BANDS, greys=3, classes=2)
WITHOUT = Public(PUBLIC, BANDS, greys=3)


def people(count: int, seed: int, shift: float = 0.0) -> list[Measured]:
    """Patients `shift` public deviations from public people; odd ones are of class 1."""
    random = np.random.default_rng(seed)
    spread = BANDS.spread(PUBLIC.shape_std)
    slow = np.arange(K) < COUNT
    return [
        Measured(
            PUBLIC.place
            + PUBLIC.place_std * (shift + 0.4 * random.standard_normal(12) + 0.3 * own),
            spread * (shift * slow + 0.8 * random.standard_normal((3, K))),
            PUBLIC.figures + PUBLIC.figures_std * (shift + 0.5 * random.standard_normal(7)),
            own,
        )
        for own in (number % 2 for number in range(count))
    ]


def member(
    public: Public,
    cohort: Sequence[Measured],
    sigma: float = 0.0,
    seed: int = 0,
    count: int = COUNT,
    patients: int | None = None,
) -> Member:
    """What a hospital releases: means of its patients' joint vectors, with noise `sigma`."""
    random, numbers = np.random.default_rng([seed, 9]), public.centre
    released, noise = {}, {}
    for name in public.names:
        parts = public.parts(name, count)
        vector = joint.joined(parts)
        # As `join` scales them, without its clips: what is clipped is no mean of patients.
        own_means = [
            np.mean([part.measure(one, numbers) for one in cohort], axis=0)
            / vector.sigma(part.name, 1.0)
            for part in parts
        ]
        mean = np.concatenate(own_means) + sigma * random.standard_normal(vector.dimension)
        released[name], noise[name] = mean, sigma
        for part, values in vector.split(mean).items():
            own = next(one for one in parts if one.name == part)
            numbers = own.estimate(values, vector.sigma(part, sigma), numbers)
    return Member(f"{seed}", patients or len(cohort), released, noise)


def arrays(numbers: Numbers) -> dict[str, Any]:
    return {one.name: getattr(numbers, one.name) for one in fields(numbers)}


@pytest.mark.parametrize("public", [WITHOUT, WITH_CLASSES])
def test_without_noise_hospitals_give_the_numbers_of_the_pooled_cohort(public: Public) -> None:
    """Means, second moments around the joint mean and classes, of hospitals that differ."""
    cohorts = [people(20, 1, -0.4), people(60, 2, 0.1), people(40, 3, 0.5)]
    members = [member(public, one, seed=number) for number, one in enumerate(cohorts)]
    pooled = member(public, [one for cohort in cohorts for one in cohort])
    wanted = arrays(hospitals.joined(public, [pooled]))
    found = arrays(hospitals.joined(public, members))
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-12, err_msg=name)
    # These hospitals do differ: their own numbers are others.
    assert np.abs(hospitals.alone(public, members[0]).place - wanted["place"]).max() > 1e-3


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.2])
def test_one_hospital_joined_is_its_own_model(sigma: float) -> None:
    """Bit for bit, at any noise: nothing is moved, and nothing is taken off twice."""
    one = member(WITH_CLASSES, people(30, 4, 0.6), sigma)
    own, found = (
        arrays(way(WITH_CLASSES, given))
        for way, given in ((hospitals.alone, one), (hospitals.joined, [one]))
    )
    for name, values in own.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_order_changes_no_bit() -> None:
    members = [member(WITH_CLASSES, people(20, n, 0.2 * n), 0.03, seed=n) for n in range(4)]
    first = arrays(hospitals.joined(WITH_CLASSES, members))
    for turn in (members[::-1], members[2:] + members[:2]):
        for name, values in arrays(hospitals.joined(WITH_CLASSES, turn)).items():
            np.testing.assert_array_equal(values, first[name])


def error(numbers: Numbers, shift: float) -> float:
    """Mean squared error of mean place and figures, in public deviations."""
    place = (numbers.place - PUBLIC.place) / PUBLIC.place_std - shift
    figures = (numbers.figures - PUBLIC.figures) / PUBLIC.figures_std - shift
    return float(np.mean(np.concatenate([place, figures]) ** 2))


def exact(shift: float) -> list[Measured]:
    """Two patients whose mean is `shift` public deviations from public people."""
    return [
        Measured(
            PUBLIC.place + PUBLIC.place_std * (shift + side),
            np.zeros((3, K)),
            PUBLIC.figures + PUBLIC.figures_std * (shift + side),
        )
        for side in (-0.2, 0.2)
    ]


def test_noise_falls_with_the_root_of_how_many_hospitals_and_below_that_of_shrunk_means() -> None:
    """Numbers that each hospital has shrunk for itself keep what that took, however many."""
    turns, shift, sigma = 40, 0.6, 0.02
    errors: dict[str, list[float]] = {"1": [], "4": [], "16": [], "mean of shrunk": []}
    for turn in range(turns):
        members = [
            member(WITHOUT, exact(shift), sigma, seed=turn * 16 + n, patients=50) for n in range(16)
        ]
        for k in (1, 4, 16):
            errors[str(k)].append(error(hospitals.joined(WITHOUT, members[:k]), shift))
        own = [hospitals.alone(WITHOUT, one) for one in members]
        mean = replace(
            PUBLIC,
            place=np.mean([one.place for one in own], axis=0),
            figures=np.mean([one.figures for one in own], axis=0),
        )
        errors["mean of shrunk"].append(error(mean, shift))
    root = {name: float(np.mean(values)) ** 0.5 for name, values in errors.items()}
    assert 0.4 < root["4"] / root["1"] < 0.7
    assert 0.4 < root["16"] / root["4"] < 0.65
    assert root["mean of shrunk"] > 1.3 * root["16"]


def test_second_moments_of_noisy_means_are_right_in_the_mean() -> None:
    """Without what is taken off, a noisy mean is counted as how far hospitals are apart."""
    random, weight, sigma, true = np.random.default_rng(3), 0.25, 0.4, np.full(1, 0.5)
    groups = np.zeros(1, np.intp)
    for kept in (0.0, 0.7, 1.0):
        wrong, plain = [], []
        for _ in range(20000):
            noise = sigma * random.standard_normal(4)
            shown = true + noise[:, None]
            common = Around(0.9 * shown.mean(axis=0), shown.mean(axis=0), groups)
            own = Around(kept * shown[0], shown[0], groups)
            change, _ = moved(own, common, np.array(sigma), weight)
            apart = own.at - common.at
            # What second moments around the one point are around the other, of known means.
            truth = 2.0 * apart * (true - own.at) + apart**2
            wrong.append(float((change - truth)[0]))
            plain.append(float((2.0 * apart * (shown[0] - own.at) + apart**2 - truth)[0]))
        assert abs(np.mean(wrong)) < 0.01
        assert abs(np.mean(plain)) > 0.06


def test_the_mean_shape_has_what_every_hospital_has_released() -> None:
    more = int(np.bincount(BANDS.of)[:3].sum())
    members = [
        member(WITHOUT, people(30, 5, 0.5), seed=1),
        member(WITHOUT, people(30, 6, 0.5), seed=2, count=more),
    ]
    found = hospitals.joined(WITHOUT, members)
    assert found.shape[:, :COUNT].any()
    assert not found.shape[:, COUNT:].any()
    assert hospitals.alone(WITHOUT, members[1]).shape[:, COUNT:more].any()


def test_a_vector_of_no_known_length_is_refused() -> None:
    one = member(WITHOUT, people(10, 7))
    for name, reason in ((MEANS, "fits no mean shape"), (SPREADS, "numbers, not")):
        short = replace(one, released={**one.released, name: one.released[name][:-1]})
        with pytest.raises(ValueError, match=reason):
            hospitals.joined(WITHOUT, [short])
