"""Label schemes of public anatomy: numbers, names, and which names differ in side alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from medvae.errors import UsageError

# Whole-region atlases number beyond the 255 that a patient's mask may have.
NUMBERS = range(1, 1 << 15)
LONGEST_NAME = 64
_SIDE = re.compile(r"^(left|right|lh|rh|l|r)[ _-]+|[ _-]+(left|right|lh|rh|l|r)$", re.IGNORECASE)


def label_scheme(names: Mapping[Any, Any]) -> dict[int, str]:
    """Number -> name, ascending; 0, the background, dropped.

    Raises:
        UsageError: a number is not in 1..32767 or is there twice, or a name is empty, too long
            or not printable.
    """
    scheme: dict[int, str] = {}
    for key, value in names.items():
        number, name = str(key).strip(), str(value).strip()
        if not (number.isascii() and number.isdigit() and int(number) < NUMBERS.stop):
            raise UsageError(
                f"--label-scheme: label {number[:20]!r} is no whole number from 1 to 32767"
            )
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise UsageError(
                f"--label-scheme: label {number} needs a name of 1 to {LONGEST_NAME} printable "
                "characters"
            )
        if int(number) in scheme:
            raise UsageError(f"--label-scheme: label {number} is named twice")
        scheme[int(number)] = name
    scheme.pop(0, None)
    if not scheme:
        raise UsageError("--label-scheme names no label; expected 1=name,2=name or a file")
    return {number: scheme[number] for number in sorted(scheme)}


def unnamed(numbers: Iterable[int]) -> dict[int, str]:
    """A scheme for labels that nobody named: the numbers are their names."""
    return {number: f"label {number}" for number in sorted(set(numbers) - {0})}


def without_side(name: str) -> str:
    """A name without left or right, in lower case: both sides of a structure have the same."""
    return _SIDE.sub("", name).strip().lower()


def classes(scheme: Mapping[int, str]) -> dict[int, str]:
    """Number -> class: labels that differ in side alone are one class."""
    return {number: without_side(name) for number, name in scheme.items()}
