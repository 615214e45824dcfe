"""Names of labels and sites as they may be declared; without what checks whole configurations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medvae.volume import MAX_CLASSES, SITE

MAX_LABELS = 32
# As classes: a release of few patients cannot separate more.
MAX_SITES = MAX_CLASSES
# Masks are stored with 8 bits a voxel; 0 is the background.
LABEL_NUMBERS = range(1, 256)
LONGEST_LABEL_NAME = 64


def label_scheme(scheme: Mapping[Any, Any]) -> dict[str, str]:
    """A label scheme, number (as text) -> name, ascending by number; 0, the background, dropped.

    Raises:
        ValueError: a number is not in 1..255 or is there twice, or a name is empty, longer than
            64 characters, not printable or there twice.
    """
    names: dict[int, str] = {}
    for key, value in scheme.items():
        number = str(key).strip()
        name = str(value).strip()
        if not (number.isascii() and number.isdigit() and int(number) < LABEL_NUMBERS.stop):
            raise ValueError(f"label {number[:20]!r} is no whole number from 1 to 255")
        if not 0 < len(name) <= LONGEST_LABEL_NAME or not name.isprintable():
            raise ValueError(
                f"label {number} needs a name of 1 to {LONGEST_LABEL_NAME} printable characters"
            )
        if int(number) in names:
            raise ValueError(f"label {number} is named twice")
        names[int(number)] = name
    names.pop(0, None)
    if len(set(names.values())) < len(names):
        raise ValueError("two labels have the same name")
    return {str(number): names[number] for number in sorted(names)}


def checked_sites(names: Sequence[str]) -> tuple[str, ...]:
    """Names of sites in the order given; none of them twice.

    Raises:
        ValueError: a name is none (see `SITE`), is there twice, or it is one alone or too many.
    """
    for name in names:
        if not re.fullmatch(SITE, name):
            raise ValueError(
                f"{name[:40]!r} is no name of a site: expected up to 32 letters, digits, dots, "
                "hyphens and underscores"
            )
    if len(set(names)) < len(names) or len(names) == 1 or len(names) > MAX_SITES:
        raise ValueError(f"sites are two to {MAX_SITES} different names, or none")
    return tuple(names)
