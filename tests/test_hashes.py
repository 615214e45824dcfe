"""hashes.txt: every package that `scripts/setup` installs, in the versions of constraints.txt."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from .scripts_loaded import script

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "hashes.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hashes() -> ModuleType:
    return script("hashes")


def test_every_package_that_is_needed_has_a_hash_and_the_pinned_version(hashes: ModuleType) -> None:
    needed = hashes.groups(ROOT / "pyproject.toml")
    # Where fewer packages are installed, what they need in turn is not known here.
    if any(group == "bench" and name not in _installed() for name, group in needed.items()):
        needed |= {name: group for name, (_, group, _) in hashes.written(TEXT).items()}
    pinned = hashes.versions(ROOT / "constraints.txt")
    assert hashes.problems(TEXT, pinned, needed) == []
    assert {"numpy", "cryptography", "opacus", "setuptools"} <= set(needed)
    assert "torch" not in needed


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("\nnumpy==", "\nnumpy==9"), "numpy is"),
        (lambda text: text.replace("\nnumpy==", "\nnumpies=="), "numpy is needed for base"),
        (lambda text: text.replace("# group pacs\n", "# group test\n"), "pynetdicom is needed"),
        (lambda text: text.split("\nabsl-py==")[0] + "\nabsl-py==2.5.1\n", "absl-py has no hash"),
    ],
)
def test_what_is_wrong_is_named(hashes: ModuleType, change, problem: str) -> None:
    text = change(TEXT)
    assert text != TEXT
    needed = {name: group for name, (_, group, _) in hashes.written(TEXT).items()}
    pinned = hashes.versions(ROOT / "constraints.txt")
    found = hashes.problems(text, pinned, needed)
    assert any(line.startswith(problem) for line in found), found


def test_a_group_has_all_that_is_in_the_ones_before_it(hashes: ModuleType) -> None:
    listed = {}
    for group in hashes.GROUPS:
        done = subprocess.run(
            [ROOT / "scripts/hashes_of", group], capture_output=True, text=True, check=True
        )
        # Every line is a requirement or its hash: pip refuses a requirement without one.
        assert all("==" in one or "--hash=sha256:" in one for one in done.stdout.split("\n") if one)
        listed[group] = {one.split("==")[0] for one in done.stdout.split("\n") if "==" in one}
    wanted = {name: group for name, (_, group, _) in hashes.written(TEXT).items()}
    for group in hashes.GROUPS:
        before = hashes.GROUPS[: hashes.GROUPS.index(group) + 1]
        assert listed[group] == {name for name, of in wanted.items() if of in before}


def test_files_of_windows_and_of_old_pythons_are_left_out(hashes: ModuleType) -> None:
    for name, fits in {
        "cffi-2.1.1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl": True,
        "cffi-2.1.1-cp311-cp311-win_amd64.whl": False,
        "cffi-2.1.1-cp39-cp39-manylinux2014_x86_64.whl": False,
        "cffi-2.1.0-cp311-cp311-manylinux2014_x86_64.whl": False,
        "cryptography-2.1.1-cp38-abi3-macosx_10_9_universal2.whl": True,
        "idna-2.1.1-py3-none-any.whl": True,
        "pydantic-2.1.1-py36+-none-any.whl": False,
        "idna-2.1.1.tar.gz": False,
    }.items():
        assert hashes._fits(name, "2.1.1") is fits, name


def _installed() -> set[str]:
    from importlib import metadata

    from packaging.utils import canonicalize_name

    return {canonicalize_name(one.metadata["Name"]) for one in metadata.distributions()}
