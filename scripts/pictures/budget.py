"""Plans of the benchmark's rows: every row has one epsilon, delta and noise key a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from utility.methods import UNBOUNDED, ExactRelease

from medvae.privacy import DEFAULT_DELTA, NoiseSource, Plan, StageRequest, make_plan
from medvae.train.release import PlannedRelease


def key_of(seed: int) -> bytes:
    """A benchmark's noise must repeat; a run's key comes from its secret."""
    return seed.to_bytes(32, "little")


def plan_of(requests: Sequence[StageRequest], patients: int, epsilon: float) -> Plan:
    """A plan at `epsilon`; at infinity one whose noise is not added."""
    target = min(epsilon, UNBOUNDED)
    return make_plan(requests, patients=patients, epsilon=target, delta=DEFAULT_DELTA)


def statistics_of(plan: Plan, epsilon: float, seed: int) -> PlannedRelease:
    """Measures the plan's one-shot statistics, without noise at epsilon infinity."""
    kind = ExactRelease if math.isinf(epsilon) else PlannedRelease
    return kind(plan, NoiseSource(key_of(seed)))


def one_shot(
    shares: Sequence[tuple[str, float]], patients: int, epsilon: float, seed: int
) -> PlannedRelease:
    """A plan of one-shot statistics alone."""
    requests = [StageRequest(name, share, 1.0, 1) for name, share in shares]
    return statistics_of(plan_of(requests, patients, epsilon), epsilon, seed)
