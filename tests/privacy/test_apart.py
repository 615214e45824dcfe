"""Institutions with patients of their own: what who is in one has lost, and who is in all."""

from __future__ import annotations

import pytest

from medvae.privacy import Plan, StageRequest, epsilon, make_plan
from medvae.privacy.apart import apart


def plan(target: float, delta: float = 1e-5) -> Plan:
    return make_plan([StageRequest("one", 1.0, 1.0, 1)], patients=50, epsilon=target, delta=delta)


def composed(*plans: Plan, delta: float = 1e-5) -> float:
    return epsilon([one for each in plans for one in each.mechanisms], delta)


def test_a_patient_of_one_institution_has_lost_what_that_one_cost_at_most() -> None:
    low, high = plan(2.0), plan(5.0)
    for order in ([("a", low), ("b", high)], [("b", high), ("a", low)]):
        found = apart(order)
        assert (found.epsilon, found.mechanisms) == (high.epsilon, high.mechanisms)
        assert found.everywhere == pytest.approx(composed(low, high), rel=1e-9)
        assert found.everywhere > high.epsilon
    alone = apart([("a", low)])
    assert (alone.epsilon, alone.everywhere) == (low.epsilon, low.epsilon)


def test_plans_of_one_institution_are_composed() -> None:
    first, second, other = plan(3.0), plan(3.0), plan(4.0)
    found = apart([("a", first), ("b", other), ("a", second)])
    assert found.epsilon == pytest.approx(composed(first, second), rel=1e-9)
    assert found.epsilon > other.epsilon
    assert found.mechanisms == (*first.mechanisms, *second.mechanisms)


def test_the_largest_delta_holds_for_all() -> None:
    found = apart([("a", plan(3.0, 1e-6)), ("b", plan(2.0, 1e-4))])
    assert found.delta == 1e-4
    assert found.everywhere == pytest.approx(
        max(composed(plan(3.0, 1e-6), plan(2.0, 1e-4), delta=1e-4), found.epsilon), rel=1e-9
    )
