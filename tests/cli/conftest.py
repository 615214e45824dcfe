"""The command line, run in this process, on one journey that the tests share."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medvae.cli.main import run

# How the phantoms of `scans` are ingested.
DECLARED = ("--modality", "mri", "--label-scheme", "1=outer,2=inner")
BY_FILE = ("--modality", "mri", "--files-are-patients")
QUICK = Path(__file__).parents[2] / "configs" / "quick.yaml"


@dataclass(frozen=True)
class Outcome:
    """What one command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"expected one line of JSON, got {self.out!r}; stderr: {self.err}"
        value: dict[str, Any] = json.loads(lines[0])
        return value


@dataclass(frozen=True)
class Clinic:
    """A vault with one tenant, and its command line."""

    root: Path

    def __call__(self, *words: str | Path, ok: bool = True, small: bool = True) -> Outcome:
        """Run `medvae WORDS... --json` in this vault.

        small: the made-up cohort is one, which `plan` and `train` have to be told.
        """
        if small and words[0] in ("plan", "train"):
            words = (*words, "--small-cohort")
        given = ["--vault", str(self.root / "vault"), "--identity", str(self.root / "key")]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*given, *map(str, words), "--json"])
        outcome = Outcome(code, out.getvalue(), err.getvalue())
        if ok:
            assert code == 0, outcome.err
        return outcome


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    """A fresh tenant."""
    made = Clinic(tmp_path)
    made("tenant", "create", "clinic", "--recovery-out", tmp_path / "spare")
    return made


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Clinic:
    """A tenant that has ingested the made-up scans and trained a model on them."""
    made = Clinic(tmp_path_factory.mktemp("journey"))
    made("tenant", "create", "clinic", "--recovery-out", made.root / "spare")
    made("ingest", scans, "-d", "phantoms", *DECLARED)
    made("train", "-c", QUICK, "-d", "phantoms", "--name", "first")
    return made
