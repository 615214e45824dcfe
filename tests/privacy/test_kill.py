"""Killed and resumed training ends in the same weights; scripts/kill_train.py does it 50 times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_train.py"


def test_killed_training_resumes_to_the_same_bits() -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "6", "--seed", "3"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["kills"] >= 6
    assert result["runs"] == result["bit_identical"] == result["one_debit"] >= 1
