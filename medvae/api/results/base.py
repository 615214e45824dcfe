"""What every result has in common: it is frozen, and it has a JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

# A value that JSON holds, and a JSON object.
Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
JsonObject = dict[str, Json]


@dataclass(frozen=True)
class Result:
    """What a verb has done or found; its fields never change.

    Sequences are tuples and mappings are not to be written to.
    """

    def to_json(self) -> JsonObject:
        """The object that the command line prints with `--json`: a key a field."""
        return {field.name: as_json(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True)
class Recorded(Result):
    """A result whose JSON object has more keys than it has named fields.

    Attributes:
        record: the whole object.
    """

    record: Mapping[str, Json]

    def to_json(self) -> JsonObject:
        return dict(self.record)


def as_json(value: object) -> Json:
    """A value of a result as JSON holds it: paths and keys as text, tuples as lists.

    Raises:
        TypeError: the value has no JSON form.
    """
    if isinstance(value, Result):
        return value.to_json()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    raise TypeError(f"a result holds a {type(value).__name__}, which has no JSON form")
