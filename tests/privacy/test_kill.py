"""Killed and resumed training ends in the same weights; scripts/kill_train.py does it 50 times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_train.py"


def kill(through: str, kills: int) -> dict[str, int]:
    """A short, seeded run of the script."""
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", str(kills), "--seed", "3", "--through", through],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr or run.stdout
    result: dict[str, int] = json.loads(run.stdout)
    assert result["kills"] >= kills
    return result


def test_killed_training_resumes_to_the_same_bits() -> None:
    result = kill("engine", 6)
    assert result["runs"] == result["bit_identical"] == result["one_debit"] >= 1


@pytest.mark.slow
def test_a_killed_command_resumes_to_the_same_model() -> None:
    # `medvae train` itself: a vault, the ledger's journal, sealed checkpoints of every stage.
    result = kill("cli", 3)
    assert result["runs"] == result["bit_identical"] == result["one_debit"] >= 1
    assert result["secret_gone"] == result["runs"]
