"""Small cohorts and small budgets: the atlas has it all, and whoever plans is told."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

import medvae
from medvae.api import planning, settle
from medvae.cli.main import run as command
from medvae.config import RunConfig

from .conftest import DECLARED, QUICK, Clinic

SMALL = ("-c", QUICK, "-d", "phantoms", "--epsilon", "1", "--set", "atlas.alone_below=250")


def test_a_plan_says_that_the_atlas_has_the_whole_budget(journey: Clinic) -> None:
    usual = journey("plan", *SMALL[:-2]).json
    assert usual["atlas_alone_below"] is None
    assert not all(stage["name"].startswith("atlas-") for stage in usual["stages"])
    planned = journey("plan", *SMALL).json
    assert planned["atlas_alone_below"] == 250
    assert all(stage["name"].startswith("atlas-") for stage in planned["stages"])
    out = io.StringIO()
    given = ["--vault", str(journey.root / "vault"), "--identity", str(journey.root / "key")]
    with contextlib.redirect_stdout(out):
        assert command([*given, "plan", *map(str, SMALL), "--small-cohort"]) == 0
    assert "below 250 (atlas.alone_below)" in " ".join(out.getvalue().split())


def test_patients_count_and_not_their_volumes(journey: Clinic) -> None:
    # Ten patients with twelve volumes between them.
    asked = SMALL[:-2]
    reached = journey("plan", *asked, "--set", "atlas.alone_below=10").json
    assert reached["patients"] == 10
    assert reached["atlas_alone_below"] is None
    assert any(stage["name"] == "finetune" for stage in reached["stages"])
    assert journey("plan", *asked, "--set", "atlas.alone_below=11").json["atlas_alone_below"] == 11


def test_such_a_run_is_stopped_resumed_and_drawn_from(
    clinic: Clinic, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic("ingest", scans, "-d", "phantoms", *DECLARED)

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("medvae.train.run.train_on_samples", stopped)
        assert clinic("train", *SMALL, "--name", "small", ok=False).code != 0
    # With shares of its own it would be another run; with another bound that decides alike, not.
    refused = clinic("train", *SMALL[:-2], "--name", "small", "--resume", ok=False)
    assert refused.code == 2
    assert "another atlas.alone_below" in refused.err
    again = ("train", *SMALL[:-1], "atlas.alone_below=300", "--name", "small", "--resume")
    assert clinic(*again).json["epsilon"] <= 1
    clinic("generate", "small", "-n", "2", "-o", tmp_path / "drawn")
    assert len(list((tmp_path / "drawn").rglob("*.nii.gz"))) >= 2


def _bounded(cfg: RunConfig, bound: float) -> RunConfig:
    return cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update={"alone_below": bound})})


def test_a_run_keeps_the_shares_that_it_was_begun_with(journey: Clinic) -> None:
    key = str(journey.root / "key")
    tenant = medvae.open(journey.root / "vault", "clinic", identity=key).tenant
    run = json.loads(tenant.get_named("run", "first"))
    begun = RunConfig.model_validate(run["config"])
    # Of a version that did not know the bound: today's configuration stands for what it was.
    del run["config"]["atlas"]["alone_below"]
    cfg, plan, _ = settle.reopen(tenant, run, _bounded(begun, 1e6))
    assert cfg.public() == begun.public()
    assert any(mechanism.name == "finetune" for mechanism in plan.mechanisms)
    # It was planned for 99 patients; that ten are left changes no share.
    between = _bounded(begun, begun.privacy.epsilon * 50)
    run |= {"config": between.model_dump(mode="json")}
    run |= {"plan": planning.make_plan(tenant, between.resolved(99), 99).to_json()}
    assert settle.reopen(tenant, run, between)[0].public() == begun.public()
