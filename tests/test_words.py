"""The language is that of the field: no word of the list in what a reader or a user sees."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_words", ROOT / "scripts/check_words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_words"] = module
    spec.loader.exec_module(module)
    return module


def test_no_word_of_the_list_is_used(checker: ModuleType) -> None:
    paths = list(checker.files())
    assert len(paths) > 200
    assert not checker.check(paths, checker.words())


def test_docstrings_comments_names_sentences_and_pages_are_read(
    checker: ModuleType, tmp_path: Path
) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""What is\n\ntold of a patient."""\n'
        "told = 1  # nobody is told\n"
        "def f(x):\n"
        '    raise ValueError(f"the file {x} lies elsewhere")\n'
        'HELP = "Seal objects anew."\n'
        'KEY = "told"\n'
        "# A comment over two lines, in\n"
        "# the place of one.\n"
        "def check_strangers(told_of: int) -> None: ...\n"
        "class AuditTrail: ...\n"
        "class Free:\n"
        "    believed: bool\n"
        "    found = []\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\nThe audit\ntrail.\n\n`told` is a name.\n\n| a | drowned in noise |\n"
    )
    found = checker.check([module, page], checker.words(), tmp_path)
    places = sorted(one.partition(": '")[0] for one in found)
    lines = [3, 4, 6, 7, 9, 11, 11, 12, 14]
    assert places == sorted([f"module.py:{n}" for n in lines] + ["page.md:3", "page.md:8"])
    page.write_text("The audit trail.\n")
    (one,) = checker.check([page], checker.words(), tmp_path)
    assert one == "page.md:1: 'audit trail': audit log"


def test_what_is_exempt_is_left_out(checker: ModuleType) -> None:
    names = {path.relative_to(ROOT).as_posix() for path in checker.files()}
    assert {"README.md", "SECURITY.md", "medvae/atlas/fit.py", "docs/design.md"} <= names
    assert not [name for name in names if name.startswith("docs/benchmarks/")]
