"""The recipes of containers, as far as that shows without building: paths, versions, commands."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "containers" / "Dockerfile"
APPTAINER = ROOT / "containers" / "medvae.def"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def copied(recipe: Path) -> list[str]:
    """Every path of the checkout that a recipe takes."""
    text = recipe.read_text()
    if recipe == DOCKER:
        lines = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
        return [path for line in lines for path in line]
    part = re.search(r"^%files\n(.*?)^%", text, re.DOTALL | re.MULTILINE)
    assert part is not None
    return [line.split()[0] for line in part.group(1).splitlines() if line.strip()]


@pytest.mark.parametrize("recipe", [DOCKER, APPTAINER], ids=["docker", "apptainer"])
def test_a_recipe_installs_what_is_there(recipe: Path) -> None:
    text, paths = recipe.read_text(), copied(recipe)
    assert {"pyproject.toml", "constraints.txt", "medvae", PROJECT["readme"]} <= set(paths)
    assert all((ROOT / path).exists() for path in paths)
    (extra,) = re.findall(r"--constraint /src/constraints\.txt \"/src\[(\w+)\]\"", text)
    assert extra in PROJECT["optional-dependencies"]
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (python,) = re.findall(r"^(?:FROM|From:) python:([\d.]+)-slim$", text, re.MULTILINE)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


@pytest.mark.parametrize("recipe", [DOCKER, APPTAINER], ids=["docker", "apptainer"])
def test_a_recipe_starts_a_command_of_the_project(recipe: Path) -> None:
    text = recipe.read_text()
    found = re.findall(r'^ENTRYPOINT \["([\w-]+)"\]$|^    exec ([\w-]+) "\$@"$', text, re.MULTILINE)
    ((docker, apptainer),) = found
    assert (docker or apptainer) in PROJECT["scripts"]


def test_the_image_does_not_run_as_root() -> None:
    lines = DOCKER.read_text().splitlines()
    assert lines.index("USER medvae") < lines.index('ENTRYPOINT ["medvae"]')


def test_nothing_else_of_a_checkout_is_sent_to_the_builder() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert kept == set(copied(DOCKER))
    assert not any(fnmatch.fnmatch(".venv", rule) for rule in kept)
