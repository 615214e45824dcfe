"""Results of evaluation and attacks. Those on patients stay in the tenant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from medvae.api.results.base import Json, JsonObject, Recorded, Result


@dataclass(frozen=True)
class Metric(Recorded):
    """One figure of an evaluation.

    Attributes:
        value: of the synthetic volumes; None where it could not be measured.
        real: the same between two halves of the real patients, where it applies.
        extractor: the features that it was measured on, where it applies.
    """

    value: float | None
    real: float | None
    extractor: str | None


@dataclass(frozen=True)
class EvaluateResult(Result):
    """Figures of synthetic volumes beside real ones; `releasable` is False, always.

    Attributes:
        baselines: what public people give without any patient -> the same figures; empty for what
            draws nobody of a public library.
        not_measured: what of downstream use the sets do not allow, each with the reason.
    """

    what: str
    against: str
    metrics: Mapping[str, Metric]
    releasable: bool
    baselines: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    not_measured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding(Result):
    """One attack on a model (see `medvae.audit.Finding`)."""

    name: str
    statistic: float
    threshold: float
    passed: bool
    sentence: str
    details: Mapping[str, Json]
    power: Mapping[str, Json]


@dataclass(frozen=True)
class NearestRow(Result):
    """The patients that one synthetic volume is nearest to (see `medvae.audit.Neighbour`)."""

    number: int
    subject: str
    distance: float
    next_subject: str
    next_distance: float
    mirrored: bool
    nearer: float


@dataclass(frozen=True)
class Nearest(Result):
    """Distances of synthetic volumes to real patients, without noise: `releasable` is False.

    Attributes:
        members: the data set that the model was trained on.
        against: the data set with patients that it never saw; None where none was given.
        n, seed: the volumes are those of `generate` with these.
        compared, unseen: how many patients they are compared with, and whether the model never
            saw these; else each patient of the training is compared with the others.
        usual, least: median and smallest distance of these patients to their nearest.
        rows: the nearest volume first.
    """

    model: str
    members: str
    against: str | None
    n: int
    seed: int
    compared: int
    unseen: bool
    usual: float
    least: float
    rows: tuple[NearestRow, ...]
    releasable: bool


@dataclass(frozen=True)
class AuditResult(Result):
    """Attacks on a model with its own patients.

    Attributes:
        members: the data set that it was trained on.
        against: the data set with patients that it never saw; None where none was given.
        attacks: names of the attacks that were "run" and of those that were "not_run"; together
            they are all there are.
        passed: no attack that was run succeeded; False when none was run. It says nothing of
            attacks that were not run.
        not_run: attacks that these data do not allow, each with the reason.
        not_attacked: what no attack here reaches, each with the reason.
        power: attack -> the least that it would have found.
        release_ok: False: these figures never leave the tenant.
    """

    model: str
    members: str
    against: str | None
    attacks: Mapping[str, tuple[str, ...]]
    passed: bool
    findings: tuple[Finding, ...]
    not_run: tuple[str, ...]
    not_attacked: tuple[str, ...]
    power: Mapping[str, Mapping[str, Json]]
    release_ok: bool


@dataclass(frozen=True)
class EngineFinding(Result):
    """One attack on the private mechanisms (see `medvae.privacy.audit.Attack`)."""

    name: str
    passed: bool
    sentence: str
    samples: int
    claimed: float | None
    epsilon_at_least: float | None

    def to_json(self) -> JsonObject:
        """As of every result; an unbounded leak is the text "inf"."""
        unbounded = self.epsilon_at_least == math.inf
        return super().to_json() | ({"epsilon_at_least": "inf"} if unbounded else {})


@dataclass(frozen=True)
class EngineAudit(Result):
    """Attacks on the private mechanisms, without any patient."""

    passed: bool
    delta: float
    findings: tuple[EngineFinding, ...]
