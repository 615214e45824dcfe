"""Headline scores: a formula over figures that the card holds, never above what they allow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from scipy import stats

from medvae.privacy import Mechanism, advantage, epsilon
from medvae.release import PrivacyFacts, ReleaseResult
from medvae.release.scores import scores
from tests.release.made import PRIVATE, facts

Make = Callable[..., ReleaseResult]


def _of_mu(mu: float) -> PrivacyFacts:
    mechanism = Mechanism("mean", 1.0, 1, 1 / mu)
    cost = epsilon([mechanism], 1e-4)
    return replace(
        PRIVATE, mechanisms=(vars(mechanism),), epsilon=cost, planned_epsilon=cost + 1e-6
    )


@pytest.mark.parametrize("mu", [0.05, 0.5, 1.667])
def test_the_privacy_score_is_ten_times_one_less_the_advantage(make: Make, mu: float) -> None:
    result = make(facts=facts(privacy=_of_mu(mu)))
    card = json.loads((result.path / "card.json").read_text())
    score = card["scores"]["privacy"]
    exact = 2 * stats.norm.cdf(mu / 2) - 1
    assert 0 <= card["privacy"]["advantage"] - exact < 1e-3, "a bound is rounded up"
    assert 0 <= 10 * (1 - exact) - score["value"] < 0.11, "a score is rounded down"
    right = math.ceil(100 * (1 + exact) / 2)
    assert f"at most {right} times in 100" in score["meaning"]
    for name in ("report.html", "CARD.md"):
        text = (result.path / name).read_text()
        assert score["formula"] in text.replace("&#x27;", "'")
        assert f"{score['value']:.1f}" in text


def test_the_score_does_not_hide_a_useless_guarantee() -> None:
    privacy = {"advantage": 1.0, "unit_kind": "file", "epsilon": 60.0, "delta": 1e-5}
    score = scores(privacy)["privacy"]
    assert score["value"] == 0
    assert "at most 100 times" in score["meaning"]
    assert "one file took part" in score["meaning"]
    assert scores(privacy | {"advantage": 0.4321})["privacy"]["value"] == 5.6


def test_a_public_model_has_nobody_to_find(make: Make) -> None:
    result = make(facts=facts(privacy=PrivacyFacts("public")))
    card = json.loads((result.path / "card.json").read_text())
    assert card["scores"]["privacy"]["value"] == 10
    assert "no patient was read" in card["scores"]["privacy"]["formula"]


def test_quality_is_not_measured_where_there_is_no_figure(make: Make) -> None:
    result = make()
    card = json.loads((result.path / "card.json").read_text())
    assert card["scores"]["quality"]["value"] is None
    assert "not measured" in result.report.read_text()
    assert "quality: **not measured**" in (result.path / "CARD.md").read_text()


def test_sampled_patients_are_bounded_too() -> None:
    sampled = [Mechanism("finetune", 0.5, 40, 7.0)]
    everybody = [Mechanism("finetune", 1.0, 40, 7.0)]
    assert 0 < advantage(sampled) < advantage(everybody) < 1
    nearly = [Mechanism("finetune", 1 - 1e-9, 40, 7.0)]
    assert 0 <= advantage(nearly) - advantage(everybody) < 1e-3
    assert advantage([]) == 0
