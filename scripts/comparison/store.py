"""Rows that are done, on disk: a line of JSON each, and the slices that a contact sheet shows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import medvae
from comparison.row import Row
from comparison.sheet import Slices


class Store:
    """The rows of one cohort, fold and size of run; others in the same file are left alone."""

    def __init__(self, folder: Path, *, data: str, fold: int, quick: bool) -> None:
        self._folder = folder
        self._path = folder / "rows.jsonl"
        self._key = {"data": data, "fold": fold, "quick": quick}
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self._code = _code()

    def results(self) -> list[dict[str, Any]]:
        """All rows that are done, in the order in which they were."""
        return [row for row in self._lines() if self._mine(row)]

    def find(self, row: Row) -> dict[str, Any] | None:
        """A row that is done, or None; says so where the code has changed since."""
        wanted = row.described()
        for found in self.results():
            if all(found[key] == value for key, value in wanted.items()):
                if found["code"] != self._code:
                    print(f"{row.title}: kept, though the code has changed since (--fresh)")
                return found
        return None

    def add(self, row: Row, result: dict[str, Any], slices: Slices | None) -> dict[str, Any]:
        """Keep a row, durably, with the slices to show of it."""
        if slices is not None:
            with self._picture(row.described()).open("wb") as file:
                np.savez_compressed(file, images=slices.images, masks=slices.masks)
        whole = self._key | result | {"code": self._code}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(whole) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return whole

    def forget(self) -> None:
        """Drop the rows of this cohort, fold and size."""
        kept = [row for row in self._lines() if not self._mine(row)]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        self._path.write_text(text, encoding="utf-8")

    def pictures(self, results: Sequence[dict[str, Any]]) -> list[tuple[str, Slices]]:
        """Name and slices of each of these rows that has some."""
        found = []
        for row in results:
            path = self._picture(row)
            if row["epsilon"] is not None and path.exists():
                with np.load(path) as held:
                    name = row["method"]
                    if row["epsilon"]:
                        name += f", \N{GREEK SMALL LETTER EPSILON} {_pretty(row['epsilon'])}"
                    found.append((name, Slices(held["images"], held["masks"])))
        return found

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [row for row in map(_read, lines) if row is not None]

    def _mine(self, row: dict[str, Any]) -> bool:
        return all(row.get(key) == value for key, value in self._key.items())

    def _picture(self, row: dict[str, Any]) -> Path:
        text = json.dumps([self._key, row["method"], row["epsilon"], row["seed"]], sort_keys=True)
        return self._folder / "pictures" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def _read(line: str) -> dict[str, Any] | None:
    """A row, or None for a line that a stop has cut."""
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return row


def _pretty(epsilon: float | str) -> str:
    return "\N{INFINITY}" if epsilon == "inf" else f"{epsilon:g}"


def _code() -> str:
    """A digest of all that a figure depends on."""
    digest = hashlib.sha256()
    folders = Path(medvae.__file__).parent, Path(__file__).parents[1]
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
