"""Is the language that of the field? Reads docstrings, comments, names, sentences, and Markdown.

Prints each word of scripts/words.yaml that it finds, with its place and what to write; exit code 1
where there is any.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
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
    """(line, text) of what a reader sees: of a module its texts, comments and names; of Markdown
    its paragraphs without code.
    """
    if path.suffix == ".md":
        yield from _paragraphs(path.read_text(encoding="utf-8"))
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from _texts(tree)
    yield from names(tree)
    yield from comments(path)


def _paragraphs(source: str) -> Iterator[tuple[int, str]]:
    line = 1
    for block in re.split(r"(\n\s*\n)", source):
        if block.strip():
            yield line, re.sub(r"`[^`]*`", "`code`", block)
        line += block.count("\n")


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Docstrings and texts with a space: sentences, not keys."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [piece.value for piece in node.values if isinstance(piece, ast.Constant)]
            yield node.lineno, " ".join(str(piece) for piece in pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Comments; lines of nothing else that follow one another are one text."""
    start, lines = 0, list[str]()
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type != tokenize.COMMENT:
                continue
            if lines and token.start[0] != start + len(lines):
                yield start, "\n".join(lines)
                lines = []
            start = start if lines else token.start[0]
            lines.append(token.string.lstrip("# "))
    if lines:
        yield start, "\n".join(lines)


def names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names of functions, classes, parameters, fields and constants, as words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        else:
            continue
        # snake_case and CamelCase.
        yield node.lineno, re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", name).strip()


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
