"""Writes hashes.txt: what `scripts/setup` installs, each file by its SHA-256.

    .venv/bin/python scripts/hashes.py --index URL  asks a package index, and writes the file
    .venv/bin/python scripts/hashes.py              asks nobody: are versions and groups right?

Versions are those of constraints.txt. torch is left out: its build depends on the machine (CPU or
CUDA), and `scripts/setup` takes it by its version. Each package is listed under the first group
that needs it: base, pacs, test, bench. Run it where all of bench is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
import urllib.request
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
GROUPS = ("base", "pacs", "test", "bench")
# Built in place: what builds the project's own package is installed with the rest.
BUILDER = "setuptools"
OWN, LEFT_OUT = "medvae-private", "torch"
# Where scripts/setup runs.
PLATFORMS = re.compile(r"any|(many|musl)linux.*_(x86_64|aarch64)|macosx.*_(arm64|universal2)")
PYTHONS = re.compile(r"py3|(py|cp)3(1[1-9]|[2-9]\d)")
HEAD = """\
# What scripts/setup installs: the versions of constraints.txt, each file by its SHA-256.
# Written by scripts/hashes.py.
"""


def versions(constraints: Path) -> dict[str, str]:
    """Canonical name -> pinned version."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def groups(pyproject: Path) -> dict[str, str]:
    """Canonical name -> the first group that needs the package, itself or through others."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found: dict[str, str] = {}
    for group in GROUPS:
        wanted = [*project["dependencies"], BUILDER] if group == "base" else extras[group]
        _add(wanted, group, extras, found)
    found.pop(LEFT_OUT, None)
    return found


def _add(
    names: list[str], group: str, extras: dict[str, list[str]], digests: dict[str, str]
) -> None:
    todo, seen = [Requirement(text) for text in names], set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        if name == OWN:
            todo += [Requirement(text) for extra in requirement.extras for text in extras[extra]]
            continue
        digests.setdefault(name, group)
        further = (Requirement(text) for text in _requires(name))
        todo += [one for one in further if _applies(one, requirement.extras)]


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # a benchmark's, where only tests are installed
        return []


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def hashes(index: str, name: str, version: str) -> list[str]:
    """SHA-256 of every wheel of a version that scripts/setup could take, sorted.

    index: its "simple" address, which answers in JSON (PEP 691).
    """
    if not index.startswith("https://"):
        raise ValueError(f"an index is asked by https, not at {index}")
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    request = urllib.request.Request(f"{index}/{name}/", headers=headers)  # noqa: S310 - https
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        files = json.load(answer)["files"]
    found = {one["hashes"]["sha256"] for one in files if _fits(one["filename"], version)}
    if not found:
        raise ValueError(f"{name} {version} has no wheel for Linux or macOS")
    return sorted(found)


def _fits(filename: str, version: str) -> bool:
    if not filename.endswith(".whl"):
        return False
    try:
        _, of_file, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:  # of a release before names had rules
        return False
    return str(of_file) == version and any(
        PLATFORMS.fullmatch(tag.platform)
        and (PYTHONS.fullmatch(tag.interpreter) or tag.abi == "abi3")
        for tag in tags
    )


def written(text: str) -> dict[str, tuple[str, str, int]]:
    """Canonical name -> (version, group, number of hashes) of a hashes.txt."""
    found: dict[str, tuple[str, str, int]] = {}
    group = name = ""
    for line in text.splitlines():
        if line.startswith("# group "):
            group = line.removeprefix("# group ")
        elif "==" in line:
            name, _, version = line.removesuffix(" \\").partition("==")
            found[name] = (version, group, 0)
        elif line.startswith("    --hash=sha256:"):
            of, in_group, count = found[name]
            found[name] = (of, in_group, count + 1)
    return found


def problems(text: str, pinned: dict[str, str], needed: dict[str, str]) -> list[str]:
    """What is wrong with a hashes.txt, a sentence each."""
    there, found = written(text), []
    for name in sorted(needed.keys() - there.keys()):
        found.append(f"{name} is needed for {needed[name]} and has no hash")
    for name in sorted(there.keys() - needed.keys()):
        found.append(f"{name} has hashes and nothing needs it")
    for name in sorted(there.keys() & needed.keys()):
        version, group, count = there[name]
        if version != pinned.get(name):
            found.append(f"{name} is {pinned.get(name)} in constraints.txt and {version} here")
        if group != needed[name]:
            found.append(f"{name} is needed for {needed[name]}, not for {group}")
        if count < 1:
            found.append(f"{name} has no hash")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", metavar="URL", help="of the index to ask, .../simple")
    index = parser.parse_args().index
    pinned, needed = versions(ROOT / "constraints.txt"), groups(ROOT / "pyproject.toml")
    place = ROOT / "hashes.txt"
    if index:
        lines = [HEAD]
        for group in GROUPS:
            lines.append(f"\n# group {group}\n")
            for name in sorted(name for name, of in needed.items() if of == group):
                print(name, file=sys.stderr, flush=True)
                rows = [f"    --hash=sha256:{one}" for one in hashes(index, name, pinned[name])]
                lines.append(" \\\n".join([f"{name}=={pinned[name]}", *rows]) + "\n")
        place.write_text("".join(lines), encoding="utf-8")
    found = problems(place.read_text(encoding="utf-8"), pinned, needed)
    print("\n".join(found) or f"{len(needed)} packages, each with its hashes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
