"""Values of DICOM elements as plain, bounded Python ones, whatever the file holds."""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset

LONGEST = 1024


def text(data: Dataset, name: str) -> str:
    """An element as text (several values joined by a backslash); empty without one."""
    value = _value(data, name)
    if value is None:
        return ""
    if isinstance(value, (str, bytes, int, float)):
        parts = [value]
    else:
        try:
            parts = list(value)
        except TypeError:
            parts = [value]
    joined = "\\".join(p.decode("latin-1") if isinstance(p, bytes) else str(p) for p in parts)
    return joined.strip(" \0")[:LONGEST]


def floats(data: Dataset, name: str, count: int) -> list[float] | None:
    """Exactly `count` finite numbers; None where the element does not hold them."""
    value = _value(data, name)
    try:
        numbers = [float(v) for v in (value if count > 1 else [value])]
    except (TypeError, ValueError, OverflowError):
        return None
    if len(numbers) != count or not all(math.isfinite(n) for n in numbers):
        return None
    return numbers


def number(data: Dataset, name: str) -> float | None:
    """One finite number, or None."""
    found = floats(data, name, 1)
    return found[0] if found else None


def whole(data: Dataset, name: str) -> int | None:
    """One whole number, or None."""
    found = number(data, name)
    return int(found) if found is not None and found == int(found) else None


def _value(data: Dataset, name: str) -> Any:
    try:
        return data.get(name)
    except Exception:  # noqa: BLE001  values are decoded lazily; a bad one counts as absent
        return None
