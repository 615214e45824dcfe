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


def test_the_python_examples_run(tmp_path: Path) -> None:
    """The README's, and after it, in the same folder, those of the developer's page."""
    (tmp_path / "scans").mkdir()
    write_scans(tmp_path / "scans", 24)
    page = (ROOT / "docs" / "how-to" / "developer.md").read_text(encoding="utf-8")
    blocks = [*python_blocks(README), *python_blocks(page)]
    assert len(blocks) == 3
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "epsilon 8.00, delta 1e-05 for each patient" in done.stdout
    assert "24 patients" in done.stdout
    assert (tmp_path / "synthetic" / "report.html").exists()


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_readme_can_be_read_in_minutes() -> None:
    assert 100 <= len(README.splitlines()) <= 130


PAGES = [
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "docs/design.md",
    "docs/benchmarks/utility.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_files_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/])(?:medvae|docs|scripts|configs|tests)/[\w/.-]*\w/?", text))
    assert len(named) > 3
    assert not [path for path in named if not (ROOT / path).exists()]
    assert "DESIGN" not in text
