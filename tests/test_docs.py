"""The documentation: its commands exist, its links lead somewhere, generated pages are whole."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import medvae
from medvae import api
from medvae.cli.app import build
from medvae.cli.settings import _FLAGS, _VALUES

ROOT = Path(__file__).parents[1]
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of every line of a code block that starts with `medvae`."""
    for path in WRITTEN:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```(?:bash|console)\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                if line.removeprefix("$ ").startswith("medvae "):
                    yield path.name, line.removeprefix("$ ")


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what follows it."""
    command: Any = build()
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_commands_on_pages_exist_with_their_options() -> None:
    found = list(commands())
    assert len(found) > 25
    for page, line in found:
        words = shlex.split(line, comments=True)[1:]
        command, rest = resolve(words)
        group = hasattr(command, "commands") and not command.invoke_without_command
        assert not group, f"{page}: {line}"
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        known |= {*_FLAGS, *_VALUES}
        given = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert given <= known, f"{page}: {line}: {given - known}"


def test_links_between_pages_lead_somewhere() -> None:
    made = {"command-line.md", "python.md"}
    count = 0
    for path in WRITTEN:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert not link.startswith(("http", "/")), f"{path.name}: {link}"
            target = path.parent / link
            assert target.name in made or target.is_file(), f"{path.name}: {link}"
            count += 1
    assert count > 15


def test_every_page_has_a_place() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w/-]+\.md", text))
    indexes = "".join(
        (ROOT / "docs" / d / "index.md").read_text() for d in ("decisions", "benchmarks")
    )
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").as_posix()
        assert name in listed or f"({path.name})" in indexes, f"docs/{name} is on no page"


def test_the_page_of_verbs_has_all_verbs_and_options(reference: ModuleType) -> None:
    page = reference.command_line()

    def check(name: str, command: Any) -> None:
        assert f"`{name}`" in page
        for one in command.params:
            assert all(f"`{option}`" in page for option in one.opts if option.startswith("--"))
        for verb, below in getattr(command, "commands", {}).items():
            check(f"{name} {verb}", below)

    for verb, command in build().commands.items():  # type: ignore[attr-defined]
        check(f"medvae {verb}", command)
    assert "`--epsilon-limit` FLOAT" in page
    assert " object at 0x" not in page


def test_the_page_of_the_api_has_all_names(reference: ModuleType) -> None:
    page = reference.python()
    assert {"`medvae.Session.ingest`", "`medvae.Session.train`"} <= set(page.split())
    for name in set(api.__all__) - {"Session", "Release"}:
        assert f"## `medvae.api.{name}`" in page
    for name in ("session.datasets.declare", "session.releases.create", "medvae.Session.train"):
        assert f"### `{name}`" in page
    assert "### `TrainResult`" in page
    assert " object at 0x" not in page
    assert not re.search(r"\bAny\b", page)


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == medvae.__version__
    assert citation["license"] == "Apache-2.0"


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="MkDocs is not installed")
def test_the_site_builds_strictly_and_asks_no_network(
    reference: ModuleType, tmp_path: Path
) -> None:
    reference.main()
    build_site = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(build_site, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*src="(https?:[^"]*)"', text)
        loaded += re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="(https?:[^"]*)"', text)
        assert not loaded, f"{page.name} loads {loaded}"


VERBS = frozenset(
    """add approve attack check copy create declare delete draw encode erase explain export
    generate list make measure move print read receive remove replace run send show sign start train
    write""".split()  # noqa: SIM905
)


def leaves() -> Iterator[tuple[str, Any]]:
    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        if not inner or command.invoke_without_command:
            yield name, command
        for verb, one in inner.items():
            yield from below(f"{name} {verb}", one)

    for verb, command in build().commands.items():  # type: ignore[attr-defined]
        yield from below(verb, command)


def test_help_says_what_a_verb_does_and_what_each_argument_is() -> None:
    for name, command in leaves():
        if name != "log":
            assert command.help.split()[0].lower() in VERBS, f"{name}: {command.help}"
        for one in command.params:
            text = getattr(one, "help", None) or ""
            assert text[:1].isupper() or text.startswith("mri, ct"), f"{name} {one.name}: {text!r}"
            assert text.endswith((".", ")")), f"{name} {one.name}: {text!r}"
