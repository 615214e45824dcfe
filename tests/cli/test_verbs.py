"""The table of verbs is made of the files in `medvae/cli/verbs`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from medvae import api
from medvae.cli import verbs
from medvae.cli.app import build, journey

VERB = '''"""medvae weigh"""

import typer

AFTER = "ingest"


def run(dataset: str = typer.Argument(help="Data set.")) -> None:
    """Weigh a data set."""
    print(f"{dataset} weighs 3 kg")
'''


def test_a_new_file_is_a_verb_behind_the_one_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(build().commands)  # type: ignore[attr-defined]
    (tmp_path / "weigh.py").write_text(VERB)
    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "medvae.cli.verbs.weigh", raising=False)
    command = build()
    after = list(command.commands)  # type: ignore[attr-defined]
    assert after.pop(after.index("ingest") + 1) == "weigh"
    assert after == before
    command(["weigh", "livers"], standalone_mode=False)
    assert capsys.readouterr().out == "livers weighs 3 kg\n"
    del sys.modules["medvae.cli.verbs.weigh"]


def test_the_order_is_the_one_of_the_journey() -> None:
    shown = list(build().commands)  # type: ignore[attr-defined]
    steps = ["ingest", "verify", "plan", "pretrain", "train", "generate", "evaluate", "audit"]
    assert [name for name in shown if name in steps] == steps


def test_of_two_behind_one_the_one_that_leads_nowhere_comes_first() -> None:
    line = {"a": None, "b": "a", "c": "b"}
    assert journey(line) == ["a", "b", "c"]
    assert journey({**line, "z": "a"}) == ["a", "z", "b", "c"]
    assert journey({**line, "z": "c"}) == ["a", "b", "c", "z"]
    assert journey({**line, "y": None}) == ["y", "a", "b", "c"]


@pytest.mark.parametrize("circle", [{"b": "nowhere"}, {"b": "c", "c": "b"}, {"b": "b"}])
def test_a_verb_that_would_not_be_shown_is_an_error(circle: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"AFTER of {', '.join(sorted(circle))}"):
        journey({"a": None, **circle})


def test_a_verb_loads_no_other_one() -> None:
    code = (
        "import sys; from medvae.cli.main import run; run(['doctor', '--json']); "
        "print([name for name in sys.modules if name.startswith('medvae.cli.verbs.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['medvae.cli.verbs.doctor']"


@pytest.mark.parametrize("line", [[], ["--help"], ["no-verb"], ["ingest-all"]])
def test_a_line_without_a_verb_knows_all_of_them(line: list[str]) -> None:
    assert list(build(line).commands) == list(build().commands)  # type: ignore[attr-defined]
    assert list(build(["ingest"]).commands) == ["ingest"]  # type: ignore[attr-defined]


def test_help_loads_no_library_that_it_does_not_need() -> None:
    """Nor does the API before a verb of it is asked for."""
    code = (
        "import sys; import medvae.api; from medvae.cli.app import build; build(); "
        "print(sorted({'numpy', 'torch', 'pydantic', 'cryptography', 'medvae.api.training',"
        " 'medvae.api.planning'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_of_the_api_is_found_where_it_is_said_to_be() -> None:
    assert set(api.__all__) == set(api._PLACES)
    text = Path(api.__file__).read_text()
    for name in api.__all__:
        assert getattr(api, name) is not None
        assert re.search(rf"^    from .*\b{name}\b|^        {name},$", text, re.MULTILINE), name
    with pytest.raises(AttributeError, match="no attribute 'weigh'"):
        api.weigh  # type: ignore[attr-defined]  # noqa: B018
