"""Small cohorts and small budgets: the atlas has it all, and whoever plans is told."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from medvae.cli.main import run

from .conftest import QUICK, Clinic

SMALL = ("-c", QUICK, "-d", "phantoms", "--epsilon", "1", "--set", "atlas.alone_below=250")


def _stages(clinic: Clinic, *asked: str | Path) -> list[str]:
    return [stage["name"] for stage in clinic("plan", *asked).json["stages"]]


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
        assert run([*given, "plan", *map(str, SMALL)]) == 0
    assert "below 250 (atlas.alone_below)" in " ".join(out.getvalue().split())


def test_such_a_run_trains_resumes_and_draws(clinic: Clinic, scans: Path, tmp_path: Path) -> None:
    clinic("ingest", scans, "-d", "phantoms", "--modality", "mri")
    planned = _stages(clinic, *SMALL)
    assert clinic("train", *SMALL, "--name", "small").json["epsilon"] <= 1
    # With shares of its own it would be another run; with another bound that decides alike, not.
    again = ("train", *SMALL[:-1], "atlas.alone_below=300", "--name", "small", "--resume")
    assert clinic(*again).json["model"] == "small"
    refused = clinic("train", *SMALL[:-2], "--name", "small", "--resume", ok=False)
    assert refused.code == 2
    assert "share" in refused.err
    clinic("generate", "small", "-n", "2", "-o", tmp_path / "drawn")
    assert len(list((tmp_path / "drawn").rglob("*.nii.gz"))) >= 2
    assert _stages(clinic, *SMALL) == planned
