"""Two releases around a centre: as accounted, with less noise where a mean is shared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medvae.errors import MedvaeError
from medvae.privacy import (
    Mechanism,
    NoiseSource,
    StageRequest,
    gaussian_release,
    make_plan,
    recentre,
)
from medvae.privacy.recentre import CENTRE_SHARE, RADIUS, recentred_release, requests, shrunk
from medvae.train.release import PlannedRelease

PATIENTS, DIMENSION = 118, 60


def cohort(shared: float, seed: int = 0) -> np.ndarray:
    """[118, 60] vectors of norm about 1, of which `shared` is the same in everybody."""
    random = np.random.default_rng(seed)
    common = random.normal(size=DIMENSION)
    own = random.normal(size=(PATIENTS, DIMENSION)) / math.sqrt(DIMENSION)
    return shared * common / np.linalg.norm(common) + math.sqrt(1 - shared**2) * 0.9 * own


def error(vectors: np.ndarray, centred: bool, mu: float = 0.5) -> float:
    """Root mean square error of the mean at equal budget, over ten keys."""
    errors = []
    for key in range(10):
        noise = NoiseSource(bytes([key] * 32))
        constants = {"divisor": float(len(vectors)), "noise": noise, "dimension": DIMENSION}
        if centred:
            first, second = (
                Mechanism(name, 1.0, 1, 1 / (mu * math.sqrt(share)))
                for name, share in (("x.centre", CENTRE_SHARE), ("x", 1 - CENTRE_SHARE))
            )
            out = recentred_release(vectors, clip=1.0, centre=first, rest=second, **constants)
        else:
            one = Mechanism("x", 1.0, 1, 1 / mu)
            out = gaussian_release(vectors, clip=1.0, mechanism=one, **constants)
        errors.append(((out - vectors.mean(axis=0)) ** 2).mean())
    return math.sqrt(np.mean(errors))


def test_a_shared_mean_is_released_with_less_noise_at_equal_budget() -> None:
    vectors = cohort(shared=0.9)
    assert error(vectors, centred=True) < 0.7 * error(vectors, centred=False)


def test_budget_is_split_into_what_was_asked_for() -> None:
    parts = requests("x", 0.2, 8.0, 118)
    assert [name for name, _ in parts] == ["x.centre", "x"]
    assert math.fsum(share for _, share in parts) == pytest.approx(0.2, abs=1e-12)
    assert requests("x", 0.2, 1.0, 100) == [("x", 0.2)]


def test_the_rule_at_its_boundary() -> None:
    share = 0.25
    at = recentre.WORTH / (8.0 * share**0.5)
    assert len(requests("x", share, 8.0, math.ceil(at))) == 2
    assert len(requests("x", share, 8.0, math.ceil(at) - 1)) == 1


def test_the_second_release_is_of_clipped_differences() -> None:
    # Next to no noise: the mean of what lies within half the clip of the centre, exactly.
    quiet = [Mechanism(name, 1.0, 1, 0.05) for name in ("x.centre", "x")]
    near = cohort(shared=0.95)[:, :3] * 0.2 + 0.3
    far = np.vstack([near, [[-100.0, 0, 0]], [[np.nan, 0, 0]]])
    many = np.tile(far, (200, 1))

    def released(vectors: np.ndarray) -> np.ndarray:
        return recentred_release(
            vectors,
            clip=1.0,
            centre=quiet[0],
            rest=quiet[1],
            divisor=float(len(vectors)),
            noise=NoiseSource(bytes(32)),
            dimension=3,
        )

    moved = released(many) - released(np.tile(np.vstack([near, near[:2]]), (200, 1)))
    # One patient in 120 is far away: he or she moves the mean by 1.5 clips / 120 at most, and the
    # one who is no number as much.
    assert np.linalg.norm(moved) < 2 * (1.0 + RADIUS) / 120


@pytest.mark.parametrize("nothing", [0.0, -0.0, np.nan, np.inf])
def test_a_patient_with_blank_scans_moves_the_sums_no_more_than_a_missing_one(nothing) -> None:
    """Under one keystream: whoever replaces a patient by blank scans replaces him by nothing."""
    mechanisms = [Mechanism(name, 1.0, 1, 0.5) for name in ("x.centre", "x")]
    constants = {"clip": 1.0, "centre": mechanisms[0], "rest": mechanisms[1], "dimension": 60}
    others = cohort(shared=0.95)

    def released(vectors: np.ndarray) -> np.ndarray:
        source = NoiseSource(bytes(32))
        return recentred_release(vectors, divisor=float(PATIENTS), noise=source, **constants)

    blank = np.vstack([others, np.full((1, DIMENSION), nothing)])
    assert np.array_equal(released(blank), released(others))


def test_planned_noise_is_the_noise_that_is_added() -> None:
    shares = [*requests("x", 0.5, 8.0, PATIENTS), ("y", 0.5)]
    plan = make_plan(
        [StageRequest(name, share, 1.0, 1) for name, share in shares],
        patients=PATIENTS,
        epsilon=8.0,
        delta=1e-5,
    )
    vectors = np.full((PATIENTS, 2000), 0.3 / math.sqrt(2000))
    release = PlannedRelease(plan, NoiseSource(bytes(32)))
    for name in ("x", "y"):
        out = release(name, vectors, clip=1.0, dimension=2000)
        assert (out - vectors[0]).std() == pytest.approx(release.sigma(name, 1.0), rel=0.06)
    assert release.sigma("x", 1.0) < 0.65 * release.sigma("y", 1.0)


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_mechanism_is_released_once(name: str) -> None:
    shares = [*requests("x", 0.5, 8.0, PATIENTS), ("y", 0.5)]
    plan = make_plan(
        [StageRequest(name, share, 1.0, 1) for name, share in shares],
        patients=PATIENTS,
        epsilon=8.0,
        delta=1e-5,
    )
    release = PlannedRelease(plan, NoiseSource(bytes(32)))
    vectors = cohort(shared=0.5)
    release(name, vectors, clip=1.0, dimension=DIMENSION)
    with pytest.raises(MedvaeError, match="was released already"):
        release(name, vectors[1:], clip=1.0, dimension=DIMENSION)
    release("y" if name == "x" else "x", vectors, clip=1.0, dimension=DIMENSION)


def test_a_centre_that_may_be_noise_alone_is_no_centre() -> None:
    random = np.random.default_rng(0)
    assert np.abs(shrunk(random.normal(size=1000) * 0.9, 1.0)).max() == 0.0
    strong = random.normal(size=1000) * 10
    assert np.allclose(shrunk(strong, 1.0), strong, rtol=0.02)
    assert (shrunk(np.zeros(3), 0.1) == 0).all()
