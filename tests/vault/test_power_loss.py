"""Power losses at random operations: what was committed is there, and nothing is half."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import crash_checks
import crash_worker
import power_loss

from medvae.vault import Vault

LOSSES = 2_000 if os.environ.get("MEDVAE_LONG") else 60


def record(root: Path, seed: int, steps: int, patch: pytest.MonkeyPatch) -> power_loss.Recorder:
    """Work on the vault of `root` with everything recorded."""
    recorder = power_loss.Recorder(root)
    patch.setattr(crash_worker, "say", recorder.mark)
    rng = random.Random(seed)
    with recorder.recording():
        tenant = Vault(root / "vault").open("clinic", identity=root / "identity")
        recorder.mark(did="open")
        for _ in range(steps):
            crash_worker.step(tenant, rng)
        tenant.close()
    return recorder


@pytest.mark.parametrize("seed", range(3))
def test_power_losses(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    live, base = tmp_path / "live", tmp_path / "base"
    live.mkdir()
    crash_checks.prepare(live)
    power_loss.copy(live, base)
    recorder = record(live, seed, steps=14, patch=monkeypatch)
    kinds = {operation.kind for operation in recorder.operations}
    assert {"write", "sync", "entry", "syncdir", "truncate", "mark"} <= kinds
    wal = {path for path in recorder.names if path.endswith("catalogue.db")}
    assert wal, "SQLite's operations were not recorded"
    rng = random.Random(seed)
    for turn in range(LOSSES // 3):
        until = rng.randrange(1, len(recorder.operations) + 1)
        target = tmp_path / f"image-{turn}"
        target.mkdir()
        marks = power_loss.image(recorder, base, target, until, rng) or [{"did": "open"}]
        crash_checks.check(target, crash_checks.Expected(), marks)
        shutil.rmtree(target)
