"""Is the language that of the field? Reads docstrings, sentences in the code, and Markdown.

Prints each word of scripts/words.yaml that it finds, with its place and what to write; exit code 1
where there is any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("words.yaml")
# docs/benchmarks are dated notes of measurements, kept as they were written.
# The last two are written from docstrings, which are read themselves.
EXEMPT = (
    "docs/benchmarks",
    "docs/reference/command-line.md",
    "docs/reference/python.md",
)


@dataclass(frozen=True)
class Word:
    """A pattern, and what to write instead."""

    pattern: re.Pattern[str]
    instead: str


def words(path: Path = LIST) -> tuple[Word, ...]:
    """The committed list."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    # A phrase may be broken over two lines.
    patterns = [re.compile(row["pattern"].replace(" ", r"\s+"), re.IGNORECASE) for row in rows]
    return tuple(map(Word, patterns, (row["instead"] for row in rows)))


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each text with a space in a Python file, or each paragraph of Markdown."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        line = 1
        for block in re.split(r"(\n\s*\n)", source):
            if block.strip():
                yield line, re.sub(r"`[^`]*`", "`code`", block)
            line += block.count("\n")
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            pieces = [one.value for one in node.values if isinstance(one, ast.Constant)]
            yield node.lineno, " ".join(str(piece) for piece in pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def files(root: Path = ROOT) -> Iterator[Path]:
    """What is read: the package, and every page."""
    found = [*(root / "medvae").rglob("*.py"), *(root / "docs").rglob("*.md"), *root.glob("*.md")]
    for path in sorted(found):
        if not path.relative_to(root).as_posix().startswith(EXEMPT):
            yield path


def check(paths: Sequence[Path], listed: Sequence[Word], root: Path = ROOT) -> list[str]:
    """One line for each word that is found."""
    found = {}
    for path in paths:
        for line, text in sentences(path):
            for word in listed:
                for match in word.pattern.finditer(text):
                    at = line + text.count("\n", 0, match.start())
                    place = f"{path.relative_to(root)}:{at}"
                    found[place, match[0].lower()] = f"{place}: {match[0]!r}: {word.instead}"
    return list(found.values())


def main() -> int:
    """The command."""
    found = check(list(files()), words())
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
