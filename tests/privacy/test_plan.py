"""The plan: meets its target from below, cannot be changed, and is not believed when read."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvae.errors import IntegrityError, MedvaeError, UsageError
from medvae.privacy import Mechanism, Plan, StageRequest, epsilon, make_plan
from medvae.privacy import plan as plan_module

STAGES = [
    StageRequest("atlas", 0.6, 1.0, 4),
    StageRequest("finetune", 0.2, 0.5, 40),
    StageRequest("prior", 0.2, 1.0, 1),
]


@pytest.fixture(scope="module")
def made() -> Plan:
    return make_plan(STAGES, patients=200, epsilon=8.0, constants={"clip": 1.0, "views": [2, 3]})


@pytest.mark.parametrize("target", [0.5, 3.0, 8.0])
def test_the_target_is_met_from_below(target: float) -> None:
    made = make_plan(STAGES, patients=300, epsilon=target)
    assert target - 1e-4 <= made.epsilon <= target
    assert epsilon(made.mechanisms, made.delta) == made.epsilon
    assert made.delta == 1e-5


def test_shares_are_of_squared_mu(made: Plan) -> None:
    parts = [m.sample_rate**2 * m.steps / m.noise_multiplier**2 for m in made.mechanisms]
    assert [part / sum(parts) for part in parts] == pytest.approx([0.6, 0.2, 0.2])


def test_a_stage_without_share_or_steps_is_left_out() -> None:
    stages = [*STAGES, StageRequest("none", 0.0, 0.5, 10), StageRequest("idle", 0.0, 0.5, 0)]
    made = make_plan(stages, patients=200, epsilon=1.0)
    assert [one.name for one in made.mechanisms] == ["atlas", "finetune", "prior"]


def test_a_plan_cannot_be_changed(made: Plan) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.epsilon = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.constants["clip"] = 2.0  # type: ignore[index]
    nested = {"a": {"b": [1, {"c": 2}]}}
    plan = dataclasses.replace(made, constants=nested)
    before = plan.digest()
    nested["a"]["b"].append(7)
    assert plan.digest() == before


def test_the_digest_covers_everything(made: Plan) -> None:
    others = [
        dataclasses.replace(made, delta=1e-6),
        dataclasses.replace(made, patients=201),
        dataclasses.replace(made, mechanisms=made.mechanisms[:-1]),
        dataclasses.replace(made, constants={"clip": 1.0, "views": [2, 4]}),
        dataclasses.replace(made, epsilon=made.epsilon - 1e-9),
    ]
    digests = {plan.digest() for plan in [made, *others]}
    assert len(digests) == 6
    assert all(len(digest) == 32 for digest in digests)


def test_json_there_and_back(made: Plan) -> None:
    again = Plan.from_json(made.to_json())
    assert again == made
    assert again.digest() == made.digest()
    assert again.mechanism("prior") == made.mechanisms[2]


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.update(epsilon=1.0),
        lambda raw: raw.update(delta=1e-2),
        lambda raw: raw.update(epsilon=math.nan),
        lambda raw: raw.update(version=2),
        lambda raw: raw.pop("constants"),
        lambda raw: raw["mechanisms"][1].update(steps=400),
        lambda raw: raw["mechanisms"][1].update(noise_multiplier=-3.0),
        lambda raw: raw["mechanisms"][1].update(sample_rate="0.5"),
        lambda raw: raw["mechanisms"][1].update(extra=1),
        lambda raw: raw["mechanisms"].append(raw["mechanisms"][0]),
        lambda raw: raw.update(patients=-1),
    ],
)
def test_a_plan_that_was_tampered_with_is_refused(made: Plan, change) -> None:
    raw = json.loads(made.to_json())
    change(raw)
    with pytest.raises(IntegrityError):
        Plan.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"plan"', b"\xff"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        Plan.from_json(text)


@pytest.mark.parametrize(
    "target", [0, -1, 50.001, math.nan, math.inf, -math.inf, 1e9, "8", None, True]
)
def test_an_epsilon_that_cannot_be_is_refused(target) -> None:
    with pytest.raises(UsageError, match="epsilon"):
        make_plan(STAGES, patients=200, epsilon=target)


@pytest.mark.parametrize("share", [-0.1, math.nan, 1.5, 0.3])
def test_shares_must_add_up(share: float) -> None:
    with pytest.raises(UsageError, match="share"):
        make_plan([StageRequest("a", share, 1.0, 1)], patients=10, epsilon=1.0)


def test_a_plan_needs_a_stage_and_names() -> None:
    with pytest.raises(UsageError, match="at least one stage"):
        make_plan([StageRequest("a", 1.0, 1.0, 0)], patients=10, epsilon=1.0)
    twice = [StageRequest("a", 0.5, 1.0, 1)] * 2
    with pytest.raises(UsageError, match="different names"):
        make_plan(twice, patients=10, epsilon=1.0)


@pytest.mark.parametrize("value", [math.nan, object(), {1: 2}, b"x"])
def test_constants_are_json(value) -> None:
    with pytest.raises(UsageError, match="constants"):
        make_plan(STAGES, patients=10, epsilon=1.0, constants={"a": value})


def test_the_delta_of_a_plan_is_at_most_a_tenth_of_a_patient() -> None:
    assert make_plan(STAGES, patients=200, epsilon=1.0).delta == 1e-5
    assert make_plan(STAGES, patients=200, epsilon=1.0, delta=1 / 2000).delta == 1 / 2000
    assert make_plan(STAGES, patients=10_000, epsilon=1.0).delta == 1e-5
    with pytest.raises(UsageError, match="create a tenant with a smaller --delta"):
        make_plan(STAGES, patients=10_001, epsilon=1.0)


def test_a_plan_of_an_earlier_version_can_have_a_larger_delta() -> None:
    cost = epsilon([Mechanism("a", 1.0, 1, 2.0)], 1e-3)
    old = Plan(cost, 1e-3, 200, (Mechanism("a", 1.0, 1, 2.0),), {})
    assert Plan.from_json(old.to_json()) == old
    with pytest.raises(UsageError, match="too large for 200 patients"):
        dataclasses.replace(old, delta=1 / 200)


@pytest.mark.parametrize("delta", [0.9, 0.1, 1 / 200, 1 / 1999])
def test_a_delta_that_would_publish_a_patient_is_refused(delta: float) -> None:
    with pytest.raises(UsageError, match="too large for 200 patients"):
        make_plan(STAGES, patients=200, epsilon=1.0, delta=delta)


def test_a_plan_on_which_accountants_disagree_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    true = plan_module.second_epsilon
    monkeypatch.setattr(plan_module, "second_epsilon", lambda m, d: true(m, d) + 0.05)
    with pytest.raises(MedvaeError, match="disagree"):
        make_plan(STAGES, patients=200, epsilon=1.0)


def test_an_epsilon_that_leaves_no_noise_is_refused() -> None:
    with pytest.raises(UsageError, match="noise"):
        make_plan([StageRequest("a", 1.0, 1e-4, 1)], patients=10, epsilon=50.0, delta=1e-2)


def test_an_epsilon_too_small_to_draw_noise_for_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="epsilon 1e-10 needs more noise than can be drawn"):
        make_plan([StageRequest("a", 1.0, 1.0, 1)], patients=100, epsilon=1e-10)
    assert make_plan([StageRequest("a", 1.0, 1.0, 1)], patients=100, epsilon=1e-3).epsilon <= 1e-3


@settings(deadline=None, max_examples=60)
@given(weights=st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=9), target=st.floats(1e-2, 50.0))
def test_any_split_of_any_budget_can_be_planned(weights, target) -> None:
    total = sum(weights)
    requests = [StageRequest(f"m{i}", w / total, 1.0, 1) for i, w in enumerate(weights)]
    plan = make_plan(requests, patients=100, epsilon=target)
    assert 0.99 * target - 1e-6 <= plan.epsilon <= target
