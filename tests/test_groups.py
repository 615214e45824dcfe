"""How `scripts/test` shares the suite among workers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "test"
SHARED = """
import time
import uuid
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def trained():
    (Path("made") / uuid.uuid4().hex).touch()


@pytest.mark.parametrize("number", range(6))
def test_of_it(trained, number):
    time.sleep(0.05)
"""


def test_a_fixture_of_a_module_is_made_by_one_worker(tmp_path: Path) -> None:
    """Trainings take half a minute; groups of pytest-xdist 3.8 are lost on pytest 9.2."""
    flags = re.search(r"--dist [a-z -]+", SCRIPT.read_text())
    assert flags is not None
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(SHARED)
    (tmp_path / "made").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", *flags[0].split(), "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "12 passed" in done.stdout, done.stdout + done.stderr
    assert len(list((tmp_path / "made").iterdir())) == 2
