"""Identifiers that name nobody: words for nobody, and what spreadsheets leave of a number."""

from __future__ import annotations

import re
import unicodedata

# As `bare` leaves it: all zeros is nothing.
NOBODY = re.compile(
    r"|anon(ym)?\w{0,6}|unknown|none|null|na|no(name|id|body)|test|patient|removed|dummy"
    r"|deidentified|default|x+"
)
# What spreadsheets and programs write into a cell that holds nothing.
_EMPTY = re.compile(r"#(n/a|na|ref!|value!|name\?|div/0!|num!|null!)|n/a|nan|null|none|-+", re.I)
# 1.23E+11 stands for every number that begins so: a spreadsheet does not show the rest.
_SHORTENED = re.compile(r"\d([.,]\d+)?e[+]\d+", re.I)


def plain(text: str) -> str:
    """Text in one spelling: case, width and spacing of letters do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().replace("^", " ").split())


def bare(text: str) -> str:
    """Letters and digits alone, without leading zeros and the .0 of a spreadsheet's number."""
    text = re.sub(r"^(\d+)[.]0+$", r"\1", text)
    return "".join(c for c in text if c.isalnum()).lstrip("0")


def is_nobody(text: str) -> bool:
    """Whether an identifier stands for nobody, such as ANONYMOUS or 0."""
    return NOBODY.fullmatch(bare(plain(text))) is not None


def is_empty(text: str) -> bool:
    """Whether a cell of a table says that it holds nothing."""
    return not text or _EMPTY.fullmatch(text) is not None


def is_shortened(text: str) -> bool:
    """Whether a cell holds the beginning of a long number, as spreadsheets show it."""
    return _SHORTENED.fullmatch(text) is not None
