"""Do the tests notice when the code is wrong? Small edits, one at a time, and the tests on each.

An edit is caught when one of its tests fails. The tests must pass without it: a test that always
fails would catch everything. Whatever else pytest says (nothing collected, a file that does not
import) is an error of the list, not a catch. Exit code 1: an edit survived that the list does not
give a reason for, one was caught that has such a reason, or the list cannot be run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".yaml")
COPIED = ("medvae", "tests", "scripts", "configs", "docs")
# The longest that the tests of one edit, and all of them without any, may take.
SECONDS, ALL_SECONDS = 600, 3600
PASSED, FAILED, UNCOLLECTED = 0, 1, 2


@dataclass(frozen=True)
class Mutant:
    """One edit.

    Attributes:
        name: what is wrong then, in words.
        file: path in the repository.
        old, new: text that occurs once in the file, and what is put in its place.
        tests: files or test ids, at least one of which must fail.
        survives: why no test can see it; empty for one that must be caught.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ""

    def apply(self, root: Path) -> str:
        """Edit the file under `root`; returns its text from before.

        Raises:
            ValueError: the text to replace is not there exactly once.
            SyntaxError: the edited file is not Python.
        """
        path = root / self.file
        before = path.read_text(encoding="utf-8")
        if before.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} holds the text to replace "
                f"{before.count(self.old)} times, not once; correct scripts/mutants.yaml"
            )
        after = before.replace(self.old, self.new)
        compile(after, self.file, "exec")
        path.write_text(after, encoding="utf-8")
        return before


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        outcome: "caught", "survived" or "error".
        by: the test that failed.
        expected: it is as the list says.
    """

    name: str
    outcome: str
    by: str
    seconds: float
    expected: bool


def read(path: Path = LIST) -> tuple[Mutant, ...]:
    """The committed list."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(Mutant(**(row | {"tests": tuple(row["tests"])})) for row in rows)


@contextmanager
def copy_of(root: Path) -> Iterator[Path]:
    """A temporary copy of the checkout, without compiled files, which edits would not renew."""
    with tempfile.TemporaryDirectory(prefix="medvae-mutants-") as folder:
        target = Path(folder)
        for name in COPIED:
            if (root / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(root / name, target / name, symlinks=True, ignore=ignored)
        for path in root.iterdir():
            if path.is_file():
                shutil.copy(path, target)
        yield target


def pytest(root: Path, tests: Sequence[str], seconds: int = SECONDS) -> tuple[int, str]:
    """Run tests in the copy until one fails: the exit code, and the id of the test that failed.

    Tests that hang have failed.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=os.environ | threads | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"no end after {seconds} s"
    # A file that cannot be collected is an ERROR without a test's name: that is no catch.
    failed = re.search(r"^(?:FAILED|ERROR) (\S+::\S+)", done.stdout, re.MULTILINE)
    code = done.returncode if failed or done.returncode != FAILED else UNCOLLECTED
    return code, failed[1] if failed else ""


def judge(mutant: Mutant, root: Path) -> Verdict:
    """Make the edit in the copy, run its tests, and take it back."""
    began = time.monotonic()
    before = mutant.apply(root)
    try:
        code, by = pytest(root, mutant.tests)
    finally:
        (root / mutant.file).write_text(before, encoding="utf-8")
    outcome = {FAILED: "caught", PASSED: "survived"}.get(code, "error")
    expected = outcome == ("survived" if mutant.survives else "caught")
    return Verdict(mutant.name, outcome, by, round(time.monotonic() - began, 1), expected)


def run(mutants: Sequence[Mutant], root: Path = ROOT) -> list[Verdict]:
    """Judge every mutant; a line each.

    Raises:
        ValueError: the tests do not pass without any edit, or an edit has no place.
    """
    found = []
    with copy_of(root) as copy:
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        code, failed = pytest(copy, tests, ALL_SECONDS)
        if code != PASSED:
            raise ValueError(f"the tests do not pass without any edit ({failed}); mend them first")
        for mutant in mutants:
            verdict = judge(mutant, copy)
            reason = f" ({mutant.survives})" if mutant.survives else ""
            print(
                f"{verdict.outcome:<9}{verdict.seconds:6.1f} s  {mutant.name}{reason}", flush=True
            )
            found.append(verdict)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression over names and files")
    parser.add_argument("--json", type=Path, help="write the verdicts to this file")
    given = parser.parse_args(argv)
    chosen = [m for m in read() if re.search(given.only, f"{m.name} {m.file}")]
    try:
        found = run(chosen)
    except (ValueError, SyntaxError) as error:
        print(f"scripts/mutants: {error}", file=sys.stderr)
        return 1
    survivors = [one.name for one in found if one.outcome == "survived"]
    unexpected = [one for one in found if not one.expected]
    print(f"{len(found)} edits, {len(survivors)} survived, {len(unexpected)} not as listed.")
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
