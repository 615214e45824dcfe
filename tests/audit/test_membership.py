"""A model without noise is caught by its own numbers, one with its noise is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from medvae.audit import Finding, Report, audit
from medvae.audit.embed import Embedded
from medvae.audit.means import Mean
from medvae.audit.membership import _aucs, _guesses, other_kind
from medvae.audit.report import auc
from medvae.audit.tracing import Candidates, Tracer
from medvae.config import RunConfig
from medvae.grid import Gridded, to_grid
from medvae.model import Artifact
from medvae.privacy import NoiseSource, StageRequest, make_plan
from medvae.privacy.accounting import title_of
from medvae.train import stage_requests, train
from medvae.volume import Volume
from tests.conftest import phantom

CFG = RunConfig.model_validate(
    {
        "data": {"size": (16, 24, 16), "labels": 2},
        "model": {"preset": "tiny"},
        "pretrain": {"steps": 0, "init": None},
        "atlas": {"share": 1.0, "samples": 0, "steps": 0},
        "finetune": {"share": 0.0},
        "prior": {"share": 0.0},
    }
)
Pairs = list[tuple[str, Volume]]


@cache
def people() -> tuple[Volume, ...]:
    rng = np.random.default_rng(0)
    drawn = (phantom(rng) for _ in range(60))
    return tuple(Volume(image.astype(np.float32), np.eye(4), "mri", mask=m) for image, m in drawn)


def named(first: int, last: int) -> Pairs:
    return [(f"p{i:02}", people()[i]) for i in range(first, last)]


MEMBERS, OTHERS, FRESH = named(0, 24), named(24, 48), [v for _, v in named(48, 60)]


class Cohort:
    def __init__(self) -> None:
        self.subjects = [name for name, _ in MEMBERS]

    def __len__(self) -> int:
        return len(MEMBERS)

    def volumes(self, index: int) -> list[Gridded]:
        return [to_grid(MEMBERS[index][1], CFG.data)]


def trained(epsilon: float) -> Artifact:
    privacy = CFG.privacy.model_copy(update={"epsilon": epsilon})
    cfg = CFG.model_copy(update={"privacy": privacy})
    requests = [StageRequest(*one) for one in stage_requests(cfg, len(MEMBERS))]
    plan = make_plan(requests, patients=len(MEMBERS), epsilon=epsilon, delta=1e-5)
    return train(cfg, plan, Cohort(), key=bytes(32))


@pytest.fixture(scope="module")
def private() -> Artifact:
    return trained(8.0)


def without_noise(
    patch: pytest.MonkeyPatch, streams: Callable[[str], bool], epsilon: float = 8.0
) -> Artifact:
    honest = NoiseSource.discrete_gaussian

    def draw(self: NoiseSource, count: int, sigma: float, *, stream: str, step: int) -> object:
        if streams(stream):
            return np.zeros(count, dtype=np.int64)
        return honest(self, count, sigma, stream=stream, step=step)

    patch.setattr(NoiseSource, "discrete_gaussian", draw)
    return trained(epsilon)


def attacked(model: Artifact, others: Pairs = OTHERS) -> Report:
    return audit(FRESH, MEMBERS, data=CFG.data, others=others, model=model)


def named_finding(report: Report, name: str) -> Finding:
    return next(one for one in report.findings if one.name == name)


def test_a_private_model_passes_and_the_audit_says_how_little_that_means(private: Artifact) -> None:
    report = attacked(private)
    found = named_finding(report, "membership")
    assert report.passed
    assert report.not_run == ()
    power = found.power
    # So few patients: nothing near the claim could have been found, and that is said.
    assert power["epsilon"] > 8.0
    assert f"could not have found anything below epsilon {power['epsilon']:.3g}" in found.sentence
    assert 0 < power["budget_share"] < 1
    assert report.to_json()["power"]["membership"] == power
    # What is not among the attacked mechanisms is named.
    plan = {one.name for one in _mechanisms(private)}
    rest = plan - set(found.details["attacked"])
    assert rest
    assert all(title_of(name) in report.not_attacked[0] for name in rest)
    assert any("gradients" in one for one in report.not_attacked)


def _mechanisms(model: Artifact) -> tuple[object, ...]:
    from medvae.privacy import Plan

    return Plan.from_json(model.facts["plan"]).mechanisms


def test_a_model_without_any_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    report = attacked(without_noise(monkeypatch, lambda _: True))
    found = named_finding(report, "membership")
    assert not report.passed
    assert not found.passed
    assert found.statistic == 1.0
    assert found.details["p"] < 1e-6
    assert found.details["right"] == found.details["guesses"] == 48
    assert 2.0 < found.details["epsilon_at_least"] < 8.0
    assert not named_finding(report, "noise").passed
    # What looks at volumes alone sees nothing.
    assert named_finding(report, "closest record").passed


def test_one_mechanism_without_noise_is_caught_without_other_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = without_noise(monkeypatch, lambda stream: stream == "atlas-intensity", 2.0)
    report = attacked(model, others=[])
    found = named_finding(report, "noise")
    assert not report.passed
    assert not found.passed
    assert "atlas-intensity has too little" in found.sentence
    assert "membership" not in {one.name for one in report.findings}
    assert "--against" in report.not_run[0]


def test_patients_of_another_kind_are_no_evidence(private: Artifact) -> None:
    """The same scans two voxels lower: told apart at once, whoever took part."""
    strange = [(n, replace(v, voxels=np.roll(v.voxels, 2, axis=2))) for n, v in OTHERS]
    report = attacked(private, strange)
    assert "membership" not in {one.name for one in report.findings}
    assert "kind" in report.not_run[0]


def test_one_kind_is_rarely_taken_for_two() -> None:
    rng = np.random.default_rng(1)
    names = np.array([str(i) for i in range(12)])
    alarms = 0
    for _ in range(60):
        one, two = (Embedded(rng.normal(size=(12, 3, 3, 3)).astype("f4"), names) for _ in "ab")
        alarms += other_kind(one, two)
    assert alarms <= 2


class FixedCandidates:
    """Candidates with given vectors."""

    def __init__(self, rows: np.ndarray, kinds: np.ndarray | None = None) -> None:
        self.rows = rows
        self.kinds = np.zeros(len(rows), int) if kinds is None else kinds

    def __len__(self) -> int:
        return len(self.rows)

    matrix = lambda self, name, clip: self.rows  # noqa: E731

    def classes(self) -> dict[str, str]:
        return {str(number): str(kind) for number, kind in enumerate(self.kinds)}


def test_models_with_the_plans_noise_fail_as_often_as_by_chance() -> None:
    """The rank of a real release among simulated ones is uniform."""
    rng = np.random.default_rng(2)
    ranks = []
    for _ in range(150):
        rows = rng.normal(size=(40, 60)) / 8
        released = rows[:20].mean(axis=0) + rng.normal(0, 0.03, 60)
        mean = Mean(("m",), released, 9.0, 0.03, True)
        tracer = Tracer({"m": mean}, FixedCandidates(rows[:20]), FixedCandidates(rows[20:]))  # type: ignore[arg-type]
        scores = tracer.scores()
        simulated = _aucs(tracer, 1.0, 39)
        ranks.append((simulated >= auc(scores[:20], scores[20:])).mean())
    assert 0.7 < simulated.mean() < 0.98
    assert abs(np.mean(ranks) - 0.5) < 0.08
    assert np.mean(np.array(ranks) < 0.1) < 0.2


def test_another_mix_of_classes_is_no_membership() -> None:
    """Four in five members are of the class that one in five others is of."""
    rng = np.random.default_rng(3)
    kinds = np.array([1] * 16 + [0] * 4 + [1] * 4 + [0] * 16)
    with_classes, without_classes = [], []
    for _ in range(40):
        rows = rng.normal(size=(40, 60)) / 8 + 0.2 * kinds[:, None]
        released = rows[:20].mean(axis=0) + rng.normal(0, 0.5, 60)
        mean = Mean(("m",), released, 9.0, 0.5, True)
        for known, ranks in ((kinds, with_classes), (None, without_classes)):
            groups = [
                FixedCandidates(rows[a:b], None if known is None else known[a:b])
                for a, b in ((0, 20), (20, 40))
            ]
            tracer = Tracer({"m": mean}, *groups)  # type: ignore[arg-type]
            scores = tracer.scores()
            simulated = _aucs(tracer, 1.0, 39)
            ranks.append((simulated >= auc(scores[:20], scores[20:])).mean())
    assert abs(np.mean(with_classes) - 0.5) < 0.15
    # If classes are ignored, the mix alone fails the model.
    assert np.mean(without_classes) < 0.25
    scores = kinds.astype(float)
    assert _guesses(scores, 20, kinds) == (8, 8)
    assert _guesses(scores, 20, np.zeros(40)) == (32, 20)


def test_a_mix_of_classes_is_no_other_kind() -> None:
    rng = np.random.default_rng(4)
    kinds = np.array([1] * 16 + [0] * 4 + [1] * 4 + [0] * 16)
    boxes = rng.normal(size=(40, 3, 3, 3)).astype("f4")
    boxes[kinds == 1, 0] += 2
    names = np.array([f"{number:02}" for number in range(40)])
    groups = Embedded(boxes[:20], names[:20]), Embedded(boxes[20:], names[20:])
    classes = dict(zip(names.tolist(), map(str, kinds), strict=True))
    assert other_kind(*groups)
    assert not other_kind(*groups, classes)


def test_candidates_without_a_model_pass_by() -> None:
    pairs = [("a", Gridded(np.zeros((4, 4, 4), np.float32), None))]
    seen = Candidates(None)
    assert list(seen.passing(pairs)) == pairs
    assert len(seen) == 1
