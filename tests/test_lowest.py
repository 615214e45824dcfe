"""The lowest versions that pyproject.toml states are those that `scripts/lowest` installs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from .scripts_loaded import script

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def lowest() -> ModuleType:
    return script("lowest")


def test_every_dependency_is_at_its_lowest_and_torch_as_everywhere(lowest: ModuleType) -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = lowest.lowest(ROOT / "pyproject.toml", ROOT / "constraints.txt")
    assert {"numpy==2.0", "typer==0.27.3", "rich==13.8", "pytest==8"} <= set(lines)
    assert [line for line in lines if line.startswith("torch==")] == [
        line for line in constraints if line.startswith("torch==")
    ]
    assert len(lines) == len({line.partition("==")[0] for line in lines})


def test_a_dependency_without_a_lowest_version_is_an_error(
    lowest: ModuleType, tmp_path: Path
) -> None:
    pyproject, constraints = tmp_path / "pyproject.toml", tmp_path / "constraints.txt"
    constraints.write_text("torch==2.0\n")
    pyproject.write_text(
        '[project]\ndependencies = ["numpy>=2", "scipy"]\n'
        "[project.optional-dependencies]\ntest = []\n"
    )
    with pytest.raises(ValueError, match="scipy states no lowest version"):
        lowest.lowest(pyproject, constraints)
