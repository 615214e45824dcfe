"""Several statistics by one mechanism: clipped together, with less noise in each."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.errors import UsageError
from medvae.privacy import Mechanism, NoiseSource, StageRequest, gaussian_release, make_plan
from medvae.privacy.gaussian import clipped
from medvae.privacy.joint import JOINT_CLIP, Joint, Part
from medvae.privacy.lattice import Lattice
from medvae.privacy.recentre import requests
from medvae.train.release import PlannedRelease

PARTS = (Part("place", 3.0, 0.1, 4), Part("shape", 0.02, 0.5, 7), Part("grey", 40.0, 0.2, 1))
JOINT = Joint(PARTS)
SHARES = {part.name: part.share / 0.8 for part in PARTS}
WILD = st.floats(allow_nan=True, allow_infinity=True, width=64)


def vectors_of(values: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, np.ndarray]]:
    return st.fixed_dictionaries(
        {
            part.name: st.lists(values, min_size=part.dimension, max_size=part.dimension).map(
                np.array
            )
            for part in PARTS
        }
    )


def tame(rng: np.random.Generator, norm: float) -> dict[str, np.ndarray]:
    """Vectors whose norms are `norm` of their clips."""
    drawn = {part.name: rng.normal(size=part.dimension) for part in PARTS}
    return {
        part.name: drawn[part.name] * norm * part.clip / np.linalg.norm(drawn[part.name])
        for part in PARTS
    }


@settings(deadline=None, max_examples=300)
@given(
    vectors=st.one_of(vectors_of(WILD), vectors_of(st.floats(-1, 1))),
    noise_multiplier=st.floats(0.05, 1e3),
)
def test_no_patient_moves_a_joint_sum_by_more_than_the_clip(vectors, noise_multiplier) -> None:
    lattice = Lattice.of(noise_multiplier, JOINT.clip)
    steps = clipped(JOINT.join(vectors), JOINT.clip, lattice, JOINT.dimension)
    square = sum(int(one) ** 2 for one in steps)
    assert square * Fraction(lattice.grid) ** 2 <= Fraction(JOINT.clip) ** 2
    for part, piece in zip(PARTS, JOINT.split(steps * lattice.grid).values(), strict=True):
        assert np.linalg.norm(piece) <= part.clip * (1 + 1e-9)


@settings(deadline=None, max_examples=200)
@given(vectors=vectors_of(st.floats(-1, 1)))
def test_what_is_within_the_clips_comes_back(vectors) -> None:
    small = {part.name: vectors[part.name] * part.clip / math.sqrt(7) for part in PARTS}
    back = JOINT.split(JOINT.join(small))
    assert list(back) == [part.name for part in PARTS]
    for name, vector in small.items():
        assert np.allclose(back[name], vector, rtol=1e-14, atol=1e-300)


def test_a_patient_at_every_clip_has_norm_1_and_is_scaled_to_the_joint_clip() -> None:
    joined = JOINT.join(tame(np.random.default_rng(1), norm=1.0))
    assert np.linalg.norm(joined) == pytest.approx(1.0)
    lattice = Lattice.of(1.0, JOINT.clip)
    steps = clipped(joined, JOINT.clip, lattice, JOINT.dimension)
    assert np.linalg.norm(steps * lattice.grid) == pytest.approx(JOINT_CLIP)


def test_one_wild_part_costs_the_others_no_more_than_its_own_clip() -> None:
    vectors = tame(np.random.default_rng(2), norm=0.5)
    calm = JOINT.split(JOINT.join(vectors))
    wild = JOINT.split(JOINT.join(vectors | {"place": np.array([1e300, -1e300, 1e300, 0.0])}))
    assert np.linalg.norm(wild["place"]) == pytest.approx(3.0)
    for name in ("shape", "grey"):
        assert np.array_equal(wild[name], calm[name])
    broken = JOINT.split(JOINT.join(vectors | {"place": np.array([np.nan, 1.0, 1.0, 1.0])}))
    assert not broken["place"].any()
    assert np.array_equal(broken["grey"], calm["grey"])


def plan_of(shares: list[tuple[str, float]], patients: int = 100):
    return make_plan(
        [StageRequest(name, share, 1.0, 1) for name, share in shares],
        patients=patients,
        epsilon=8.0,
    )


def test_each_part_has_less_noise_than_a_mechanism_of_its_own_at_equal_budget() -> None:
    apart = plan_of([(part.name, SHARES[part.name]) for part in PARTS])
    together = plan_of([("joint", 1.0)])
    assert together.epsilon == pytest.approx(apart.epsilon, abs=1e-4)
    release = PlannedRelease(together, NoiseSource(bytes(32)))
    for part in PARTS:
        own = apart.mechanism(part.name).noise_multiplier * part.clip / 100
        joint = JOINT.sigma(part.name, release.sigma("joint", JOINT.clip))
        assert joint == pytest.approx(JOINT_CLIP * own, rel=1e-5)


@pytest.mark.parametrize("centred", [False, True])
def test_the_noise_of_each_part_is_as_stated(centred: bool) -> None:
    joint = Joint([Part("a", 2.0, 0.3, 3000), Part("b", 0.5, 0.1, 3000)])
    shares = requests("joint", 1.0, 8.0, 100) if centred else [("joint", 1.0)]
    assert len(shares) == 1 + centred
    # Patients who differ by nothing: what differs from their mean is noise.
    own = {"a": np.full(3000, 0.5 / math.sqrt(3000)), "b": np.full(3000, 0.2 / math.sqrt(3000))}
    release = PlannedRelease(plan_of(shares), NoiseSource(bytes(32)))
    out = joint.split(
        release("joint", [joint.join(own)] * 100, clip=joint.clip, dimension=joint.dimension)
    )
    for name, vector in own.items():
        stated = joint.sigma(name, release.sigma("joint", joint.clip))
        assert (out[name] - vector).std() == pytest.approx(stated, rel=0.05)


def test_a_release_is_the_integer_sum_of_joined_vectors_whatever_their_order() -> None:
    rng = np.random.default_rng(3)
    joined = [JOINT.join(tame(rng, norm)) for norm in rng.uniform(0, 1.5, 50)]
    mechanism, lattice = Mechanism("joint", 1.0, 1, 0.7), Lattice.of(0.7, JOINT.clip)
    noise = NoiseSource(bytes(32))
    drawn = noise.discrete_gaussian(JOINT.dimension, lattice.sigma, stream="joint", step=0)
    steps = [clipped(one, JOINT.clip, lattice, JOINT.dimension) for one in joined]
    expected = [
        Fraction(lattice.grid) * (sum(int(one[i]) for one in steps) + int(drawn[i])) / 64
        for i in range(JOINT.dimension)
    ]
    for order in (joined, joined[::-1], joined[25:] + joined[:25]):
        out = gaussian_release(
            order,
            clip=JOINT.clip,
            mechanism=mechanism,
            divisor=64.0,
            noise=noise,
            dimension=JOINT.dimension,
        )
        assert [Fraction(one) for one in out] == expected


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Joint([]), "parts of different names"),
        (lambda: Joint([PARTS[0], PARTS[0]]), "parts of different names"),
        (lambda: Joint(PARTS, clip=1.1), r"in \(0, 1\]"),
        (lambda: Joint(PARTS, clip=0.0), r"in \(0, 1\]"),
        (lambda: Part("x", 0.0, 1.0, 1), "clip must be positive"),
        (lambda: Part("x", 1.0, math.nan, 1), "share must be positive"),
        (lambda: Part("x", 1.0, 1.0, 0), "dimension must be 1 or more"),
        (lambda: JOINT.join({"place": np.zeros(4)}), "needs the parts"),
        (lambda: JOINT.join(tame(np.random.default_rng(0), 1) | {"grey": np.zeros(2)}), "grey"),
        (lambda: JOINT.split(np.zeros(3)), "must have shape"),
        (lambda: JOINT.sigma("size", 1.0), "no part 'size'"),
    ],
)
def test_what_does_not_fit_is_refused(make, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()
