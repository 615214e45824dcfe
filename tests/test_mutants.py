"""The list of edits that tests must catch: it fits the code, and its runner tells the truth."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


def test_every_edit_has_its_place_and_its_tests(mutants: ModuleType) -> None:
    listed = mutants.read()
    assert len(listed) >= 25
    assert len({one.name for one in listed}) == len(listed)
    for one in listed:
        text = (ROOT / one.file).read_text(encoding="utf-8")
        assert text.count(one.old) == 1, f"{one.name}: correct scripts/mutants.yaml"
        assert one.old != one.new
        assert one.tests
        for test in one.tests:
            assert (ROOT / test.partition("::")[0]).is_file(), f"{one.name}: {test}"


def test_all_parts_that_guard_patients_are_in_the_list(mutants: ModuleType) -> None:
    parts = {Path(one.file).parts[1] for one in mutants.read()}
    assert {"privacy", "vault", "anatomy", "ingest", "release", "api"} <= parts


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one line, with a test that sees half of it."""
    (tmp_path / "medvae").mkdir()
    (tmp_path / "medvae" / "limits.py").write_text("LOW, HIGH = 1, 2\n")
    (tmp_path / "tests").mkdir()
    test = "from medvae.limits import LOW\n\ndef test_low():\n    assert LOW == 1\n"
    (tmp_path / "tests" / "test_limits.py").write_text(test)
    return tmp_path


def edit(mutants: ModuleType, new: str, survives: str = "") -> object:
    return mutants.Mutant(new, "medvae/limits.py", "1, 2", new, ("tests/test_limits.py",), survives)


def test_the_runner_tells_caught_from_survived(mutants: ModuleType, project: Path) -> None:
    found = mutants.run(
        [
            edit(mutants, "0, 2"),
            edit(mutants, "1, 3"),
            edit(mutants, "1, 4", survives="nobody reads HIGH"),
            edit(mutants, "0, 3", survives="a reason that is wrong"),
            edit(mutants, "LOST, 2"),
        ],
        project,
    )
    outcomes = [(one.outcome, one.expected) for one in found]
    assert outcomes == [
        ("caught", True),
        ("survived", False),
        ("survived", True),
        ("caught", False),
        ("error", False),
    ]
    assert found[0].by == "tests/test_limits.py::test_low"
    assert (project / "medvae" / "limits.py").read_text() == "LOW, HIGH = 1, 2\n"


def test_tests_that_always_fail_catch_nothing(mutants: ModuleType, project: Path) -> None:
    (project / "tests" / "test_limits.py").write_text("def test_all():\n    assert False\n")
    with pytest.raises(ValueError, match="do not pass without any edit"):
        mutants.run([edit(mutants, "0, 2")], project)


def test_an_edit_that_is_not_python_is_an_error(mutants: ModuleType, project: Path) -> None:
    with pytest.raises(SyntaxError):
        mutants.run([edit(mutants, "1, (")], project)


def test_an_edit_without_a_place_is_an_error(mutants: ModuleType, project: Path) -> None:
    lost = mutants.Mutant("lost", "medvae/limits.py", "7", "8", ("tests/test_limits.py",))
    with pytest.raises(ValueError, match="0 times, not once"):
        mutants.run([lost], project)


def test_the_command_ends_with_1_where_an_edit_survives(project: Path) -> None:
    (project / "scripts").mkdir()
    for name in ("mutants.py",):
        (project / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    row = {
        "name": "high",
        "file": "medvae/limits.py",
        "old": "1, 2",
        "new": "1, 3",
        "tests": ["tests/test_limits.py"],
    }
    (project / "scripts" / "mutants.yaml").write_text(yaml.safe_dump([row]))
    done = subprocess.run(
        [sys.executable, project / "scripts" / "mutants.py", "--json", project / "out.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "1 edits, 1 survived, 1 not as listed." in done.stdout
    assert '"outcome": "survived"' in (project / "out.json").read_text()
