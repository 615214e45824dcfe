"""Values of DICOM elements as plain, bounded Python ones, whatever the file holds."""

from __future__ import annotations

import functools
import math
import re
import struct
from enum import Enum
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

LONGEST = 1024
# Value representations without a character set of their own, and numbers (PS3.5 6.2).
PLAIN_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
PLAIN_NUMBERS = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("I", 4),
    "SL": ("i", 4),
    "FL": ("f", 4),
    "FD": ("d", 8),
}


# One to three digits, and three behind a comma: 0,125 and 1024,000 are decimals alone.
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


class State(Enum):
    """What an element holds. Only `READ` is a value; the others must not be taken for one."""

    ABSENT = "absent"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    READ = "read"


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


def state(data: Dataset, name: str, count: int = 1) -> State:
    """Whether the element holds exactly `count` finite numbers, something else, or nothing."""
    return _numbers(data, name, count)[0]


def floats(data: Dataset, name: str, count: int) -> list[float] | None:
    """Exactly `count` finite numbers; None where the element does not hold them.

    A decimal comma is read as a point: DICOM has no other use for it in a number, and
    writers under some locales leave it there.
    """
    return _numbers(data, name, count)[1]


def groups_thousands(data: Dataset, name: str) -> bool:
    """Whether a number may be written with a comma between thousands: -1,024 is two numbers."""
    return GROUPED.fullmatch(text(data, name)) is not None


def number(data: Dataset, name: str) -> float | None:
    """One finite number, or None."""
    values = floats(data, name, 1)
    return values[0] if values else None


def whole(data: Dataset, name: str) -> int | None:
    """One whole number, or None."""
    value = number(data, name)
    return int(value) if value is not None and value == int(value) else None


def whole_at(data: Dataset, tag: BaseTag) -> int | None:
    """One whole number by its tag, for elements that have no keyword of their own; or None."""
    item: Any = data.get_item(tag)
    if item is None:
        return None
    try:
        return int(data[tag].value)
    except Exception:  # noqa: BLE001  values are decoded lazily; a bad one counts as absent
        return None


def wholes(data: Dataset, name: str) -> list[int]:
    """All whole numbers of an element; none where one of its values is something else."""
    value = _value(data, name)
    if value is None:
        return []
    try:
        if isinstance(value, str):
            value = value.split("\\") if value else []
        return [int(item) for item in ([value] if isinstance(value, int) else value)]
    except (TypeError, ValueError):
        return []


def private_number(data: Dataset, block: int, creator: str, tag: int) -> int | None:
    """A whole number of a vendor's block (its first place, which vendors use), or None.

    Args:
        block: the tag that names the block's owner, which must be `creator`.
        tag: of the number.
    """
    owner, item = data.get_item(block), data.get_item(tag)
    if owner is None or item is None or _as_text(owner.value) != creator:
        return None
    value = item.value
    if isinstance(value, bytes):
        stored = _as_text(value)
        if not stored.lstrip("-").isdigit():
            return int.from_bytes(value, "little") if len(value) in (2, 4) else None
        value = stored
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def private_bytes(data: Dataset, block: int, creator: str, tag: int) -> bytes:
    """What a vendor's element holds as it is stored; nothing without it (as `private_number`)."""
    owner, item = data.get_item(block), data.get_item(tag)
    if owner is None or item is None or _as_text(owner.value) != creator:
        return b""
    return item.value[:LONGEST] if isinstance(item.value, bytes) else b""


def _as_text(value: object) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.strip(" \0")


def _numbers(data: Dataset, name: str, count: int) -> tuple[State, list[float] | None]:
    item: Any = data.get_item(_tag(name))
    if item is None:
        return State.ABSENT, None
    value = _value(data, name)
    if value is None:
        # Empty, or such that pydicom cannot decode it: what is stored shows which.
        value = item.value
    return _parsed(value, count)


def floats_in(stored: bytes, count: int) -> list[float] | None:
    """`floats` of an element whose value is stored as text."""
    return _parsed(stored, count)[1]


def text_in(stored: bytes) -> str:
    """`text` of an element of `PLAIN_TEXT`."""
    return stored.decode("latin-1").strip(" \0")[:LONGEST]


def _parsed(value: Any, count: int) -> tuple[State, list[float] | None]:
    if isinstance(value, bytes):
        value = value.decode("latin-1").strip(" \0")
    if isinstance(value, str):
        value = value.split("\\") if value else []
    elif value is None or isinstance(value, (int, float)):
        value = [] if value is None else [value]
    try:
        numbers = [_number(v) for v in value]
    except (TypeError, ValueError, OverflowError):
        return State.UNREADABLE, None
    if not numbers:
        return State.EMPTY, None
    if len(numbers) != count or not all(math.isfinite(n) for n in numbers):
        return State.UNREADABLE, None
    return State.READ, numbers


def _number(value: Any) -> float:
    if isinstance(value, str):
        value = value.strip(" \0")
        if value.count(",") == 1 and "." not in value:
            value = value.replace(",", ".")
    return float(value)


def _value(data: Dataset, name: str) -> Any:
    """The value of an element; as pydicom decodes it, but for plain ones in a tenth of the time."""
    tag = _tag(name)
    item: Any = data.get_item(tag)
    if isinstance(item, RawDataElement) and isinstance(item.value, bytes):
        kind = item.VR or _kind(tag)
        if kind in PLAIN_TEXT:
            return item.value.decode("latin-1").strip(" \0")
        code, size = PLAIN_NUMBERS.get(kind, ("", 0))
        if code and item.value and len(item.value) % size == 0:
            order = "<" if item.is_little_endian else ">"
            count = len(item.value) // size
            values = struct.unpack(f"{order}{count}{code}", item.value)
            return values[0] if count == 1 else list(values)
    try:
        return None if item is None else data[tag].value
    except Exception:  # noqa: BLE001  values are decoded lazily; a bad one counts as absent
        return None


@functools.cache
def _tag(name: str) -> BaseTag:
    tag = tag_for_keyword(name)
    if tag is None:
        raise KeyError(name)
    return BaseTag(tag)


@functools.cache
def _kind(tag: BaseTag) -> str:
    """The value representation of an element whose file does not say it."""
    return dictionary_VR(tag)
