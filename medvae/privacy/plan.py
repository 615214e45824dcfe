"""The plan of a run: everything that decides its privacy, fixed before any data are read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from medvae.errors import IntegrityError, MedvaeError, UsageError
from medvae.privacy.accounting import (
    DEFAULT_DELTA,
    MAX_NOISE,
    MIN_NOISE,
    Mechanism,
    check_delta,
    check_patients,
    epsilon,
    second_epsilon,
)

# How far two independent accountants may differ before neither is trusted.
AGREEMENT = 0.02

# Of a plan, and of a tenant's limit. Beyond it a guarantee says nothing about a patient.
MAX_EPSILON = 50.0
_VERSION = 1


@dataclass(frozen=True)
class StageRequest:
    """A mechanism that a run wants, before its noise is known.

    Attributes:
        name: unique in the plan.
        share: part of the privacy budget in [0, 1], counted in mu^2 = q^2 steps / noise^2
            (Gaussian DP to first order; Dong, Roth, Su 2022); shares of a plan add up to 1.
        sample_rate, steps: as in `Mechanism`. A share of 0 or 0 steps leaves the stage out.
    """

    name: str
    share: float
    sample_rate: float
    steps: int


@dataclass(frozen=True)
class Plan:
    """An immutable agreement: these mechanisms, on so many patients, at this epsilon and delta.

    Attributes:
        epsilon: what the mechanisms cost together at `delta`; never above the target.
        delta: below 1 / patients.
        patients: the public number of patients N.
        mechanisms: in the order of the run.
        constants: JSON values that the guarantee or the result depends on (clip norms, divisors,
            views, the public configuration); frozen through and through.
    """

    epsilon: float
    delta: float
    patients: int
    mechanisms: tuple[Mechanism, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [mechanism.name for mechanism in self.mechanisms]
        if len(set(names)) != len(names):
            raise UsageError(f"the mechanisms of a plan must have different names: {names}")
        if not math.isfinite(self.epsilon) or self.epsilon < 0:
            raise UsageError(f"a plan's epsilon must be finite and positive, not {self.epsilon!r}")
        _check_plan_delta(self.delta, self.patients)
        object.__setattr__(self, "mechanisms", tuple(self.mechanisms))
        object.__setattr__(self, "constants", _freeze(self.constants))

    def mechanism(self, name: str) -> Mechanism:
        """The mechanism of that name. UsageError when the plan has none."""
        for mechanism in self.mechanisms:
            if mechanism.name == name:
                return mechanism
        names = ", ".join(mechanism.name for mechanism in self.mechanisms)
        raise UsageError(f"the plan has no mechanism {name!r} (it has: {names})")

    def to_json(self) -> str:
        """Canonical JSON: equal plans give equal text."""
        document = {
            "version": _VERSION,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "patients": self.patients,
            "mechanisms": [mechanism_to_dict(mechanism) for mechanism in self.mechanisms],
            "constants": _thaw(self.constants),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read what `to_json` wrote, and recompute epsilon rather than trust it.

        Raises:
            IntegrityError: not such a text, or the mechanisms do not cost what it says.
        """
        try:
            raw = json.loads(text)
            if raw["version"] != _VERSION:
                raise ValueError(f"version {raw['version']} is not {_VERSION}")
            mechanisms = tuple(mechanism_from_dict(mechanism) for mechanism in raw["mechanisms"])
            plan = cls(raw["epsilon"], raw["delta"], raw["patients"], mechanisms, raw["constants"])
        except (ValueError, KeyError, TypeError, OverflowError, UsageError) as error:
            raise IntegrityError(f"the plan cannot be read ({error}); make it again") from error
        actual = epsilon(mechanisms, plan.delta)
        # Earlier accountants were pessimistic by less than .2%; none was below today's.
        if not -1e-6 <= plan.epsilon - actual <= 1e-6 + 2e-3 * actual:
            raise IntegrityError(
                f"the plan says epsilon {plan.epsilon:.4g} but its mechanisms cost {actual:.4g};"
                " it was changed after it was made"
            )
        return plan

    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of `to_json`: the identity that keys and ledger entries carry."""
        return hashlib.sha256(self.to_json().encode()).digest()


def mechanism_to_dict(mechanism: Mechanism) -> dict[str, Any]:
    """A mechanism as JSON values."""
    return {
        "name": mechanism.name,
        "sample_rate": mechanism.sample_rate,
        "steps": mechanism.steps,
        "noise_multiplier": mechanism.noise_multiplier,
    }


def mechanism_from_dict(raw: Mapping[str, Any]) -> Mechanism:
    """The inverse of `mechanism_to_dict`. KeyError, TypeError or UsageError on anything else."""
    if set(raw) != {"name", "sample_rate", "steps", "noise_multiplier"}:
        raise KeyError(f"a mechanism has other fields than it must: {sorted(raw)}")
    return Mechanism(raw["name"], raw["sample_rate"], raw["steps"], raw["noise_multiplier"])


def make_plan(
    requests: Iterable[StageRequest],
    *,
    patients: int,
    epsilon: float,
    delta: float = DEFAULT_DELTA,
    constants: Mapping[str, Any] | None = None,
) -> Plan:
    """Choose the noise of every stage so that all of them together cost `epsilon` at most.

    Formal guarantee: the composition of the plan's mechanisms is (epsilon, delta)-DP for one
    patient under add-or-remove and zero-out adjacency, N public; two accountants agree on it.

    All noise multipliers are scaled by one factor, found by bisection on epsilon and
    approached from below, so that stages keep their shares of mu^2.

    Args:
        requests: stages whose shares add up to 1.
        patients: the public number of patients N.
        epsilon: the target, in (0, 50].
        delta: the tenant's; at most 1 / (10 patients).
        constants: JSON values bound into the plan's digest.

    Raises:
        UsageError: a value that is zero, negative, NaN or infinite; shares that do not add up;
            an epsilon so large that noise would vanish.
        MedvaeError: two accountants differ by more than 0.02: neither is to be trusted here.
    """
    target = check_epsilon(epsilon, "epsilon")
    delta = _check_new_delta(delta, patients)
    stages = _check_requests(list(requests))
    mechanisms = _calibrate(stages, target, delta)
    cost = _agreed_epsilon(mechanisms, delta)
    return Plan(cost, delta, patients, mechanisms, constants or {})


def check_epsilon(value: float, what: str) -> float:
    """`value` itself. UsageError, naming `what`, unless it is a number in (0, 50]."""
    ok = isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    if not ok or not 0 < value <= MAX_EPSILON:
        raise UsageError(f"{what} must be in (0, {MAX_EPSILON:g}], such as 8, not {value!r}")
    return float(value)


def _check_plan_delta(delta: float, patients: int) -> None:
    """What a plan of any version keeps to."""
    check_patients(patients)
    check_delta(delta)
    # A delta of 1/N allows one patient to be published whole, at an epsilon of next to nothing:
    # it would empty every limit of its meaning.
    if patients > 1 and delta >= 1 / patients:
        raise UsageError(
            f"delta {delta:g} is too large for {patients} patients: it must be below"
            f" {1 / patients:.2g}"
        )


def _check_new_delta(delta: float, patients: int) -> float:
    """What a plan that is made today keeps to."""
    check_patients(patients)
    if check_delta(delta) > 1 / (10 * patients):
        raise UsageError(
            f"delta {delta:g} is too large for {patients} patients: it must be at most 1/(10 N) ="
            f" {1 / (10 * patients):.4g}; create a tenant with a smaller --delta for this cohort"
        )
    return float(delta)


def _check_requests(requests: list[StageRequest]) -> list[StageRequest]:
    for stage in requests:
        if not math.isfinite(stage.share) or not 0 <= stage.share <= 1:
            raise UsageError(f"{stage.name}: share must be in [0, 1], not {stage.share!r}")
        if stage.share > 0 and stage.steps > 0:
            Mechanism(stage.name, stage.sample_rate, stage.steps, 1.0)
    stages = [stage for stage in requests if stage.share > 0 and stage.steps != 0]
    if not stages:
        raise UsageError("a plan needs at least one stage with a share of the budget and steps")
    total = math.fsum(stage.share for stage in stages)
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise UsageError(f"the shares of the stages that run must add up to 1, not {total:g}")
    return stages


def _scaled(requests: Sequence[StageRequest], mu: float) -> tuple[Mechanism, ...]:
    """Mechanisms of total Gaussian-DP parameter `mu`, split by share of mu^2."""
    return tuple(
        Mechanism(
            stage.name,
            float(stage.sample_rate),
            stage.steps,
            stage.sample_rate * math.sqrt(stage.steps / stage.share) / mu,
        )
        for stage in requests
    )


def _calibrate(
    requests: Sequence[StageRequest], target: float, delta: float
) -> tuple[Mechanism, ...]:
    from scipy.optimize import brentq

    noises = [stage.sample_rate * math.sqrt(stage.steps / stage.share) for stage in requests]
    smallest = min(noises)
    # A little more than the least mu: a quotient may round to the wrong side of the limit.
    low, high = max(noises) / MAX_NOISE * (1 + 1e-9), min(1.0, smallest / MIN_NOISE)
    if epsilon(_scaled(requests, low), delta) > target:
        raise UsageError(
            f"epsilon {target:g} needs more noise than can be drawn; ask for a larger one,"
            " such as 1"
        )
    while epsilon(_scaled(requests, high), delta) <= target:
        low = high
        if high >= smallest / MIN_NOISE:
            raise UsageError(
                f"epsilon {target:g} would leave next to no noise on these stages;"
                " ask for less, or for more steps"
            )
        high = min(2 * high, smallest / MIN_NOISE)
    # Bracketed root finding (Brent: bisection at worst) to 1e-7 relative, far below the
    # accountants' own error; then down until the target is met from below.
    root = brentq(
        lambda mu: epsilon(_scaled(requests, mu), delta) - target,
        low,
        high,
        xtol=1e-9 * high,
        rtol=1e-7,
    )
    low, slack = float(root), 1e-7
    while epsilon(_scaled(requests, low), delta) > target and slack < 1:
        low, slack = float(root) * (1 - slack), 4 * slack
    return _scaled(requests, low)


def _agreed_epsilon(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    first, second = epsilon(mechanisms, delta), second_epsilon(mechanisms, delta)
    if abs(first - second) > AGREEMENT:
        raise MedvaeError(
            f"two accountants disagree on this plan ({first:.4f} and {second:.4f}): it is refused;"
            " change the number of steps or the sampling rate"
        )
    return first


def _freeze(value: Any) -> Any:
    """JSON values that cannot be changed. UsageError on anything that is not JSON."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise UsageError("the constants of a plan must have text for keys")
        return MappingProxyType({key: _freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise UsageError(f"the constants of a plan must be finite JSON values, not {value!r}")


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_thaw(item) for item in value]
    return value
