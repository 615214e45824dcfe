"""Which label a named structure or segment gets: as the declared scheme has it by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medvae.errors import InputError, UsageError
from medvae.ingest.records import printable

MOST_STRUCTURES = 255


def numbering(structures: list[str], scheme: Mapping[str, str] | None) -> dict[str, int]:
    """Structure -> label: as the scheme (number -> name) has it, else 1, 2, ... in order.

    With a scheme, structures that it does not name get none.
    """
    if not scheme:
        return {name: number for number, name in enumerate(structures, start=1)}
    numbers = {_spelled(name): int(number) for number, name in scheme.items()}
    return {name: numbers[_spelled(name)] for name in structures if _spelled(name) in numbers}


def check_names(scheme: Mapping[str, str]) -> None:
    """Refuse a scheme that cannot number by name.

    Raises:
        UsageError: two of its labels have one name.
    """
    first: dict[str, str] = {}
    for number, name in scheme.items():
        if first.setdefault(_spelled(name), number) != number:
            raise UsageError(
                f"the label scheme calls both {first[_spelled(name)]} and {number} "
                f"{printable(name)!r}: give each label a name of its own"
            )


def segment_labels(
    names: Mapping[int, Sequence[str]], scheme: Mapping[str, str] | None
) -> dict[int, int]:
    """Number of a segment -> label: as the scheme has it by name, else the number itself.

    Args:
        names: number -> what the segment is called.

    Raises:
        InputError: the scheme names none of them, or a number is no label.
    """
    if not scheme:
        if not all(1 <= number <= MOST_STRUCTURES for number in names):
            raise InputError(f"its segments are not numbered from 1 to {MOST_STRUCTURES}")
        return {number: number for number in names}
    numbers = numbering([name for several in names.values() for name in several], scheme)
    labels = {
        number: next(numbers[name] for name in several if name in numbers)
        for number, several in names.items()
        if any(name in numbers for name in several)
    }
    if not labels:
        raise InputError("the label scheme names none of its segments")
    return labels


def _spelled(name: str) -> str:
    return re.sub(r"[-_. ]+", " ", name.lower()).strip()
