"""The README's claims that can be run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import write_scans

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    write_scans(tmp_path / "scans", 24)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "epsilon" in done.stdout
    assert (tmp_path / "synthetic" / "report.html").exists()


def test_every_verb_is_in_the_readme() -> None:
    from medvae.cli.app import build

    verbs = set(build().commands)  # type: ignore[attr-defined]
    missing = {verb for verb in verbs if not re.search(rf"`?\b{verb}\b", README)}
    assert not missing


@pytest.mark.parametrize(
    "path",
    [
        "SECURITY.md",
        "docs/design.md",
        "docs/configuration.md",
        "configs/mri.yaml",
        "configs/ct.yaml",
    ],
)
def test_files_that_the_readme_names_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "page", ["README.md", "SECURITY.md", "docs/design.md", "docs/benchmarks/utility.md"]
)
def test_pages_name_files_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/])(?:medvae|docs|scripts|configs|tests)/[\w/.-]*\w/?", text))
    assert len(named) > 3
    assert not [path for path in named if not (ROOT / path).exists()]
    assert "DESIGN" not in text
