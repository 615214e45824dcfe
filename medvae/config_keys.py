"""The keys of a configuration: what each means, takes and defaults to, from the model itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from medvae.config import RunConfig


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: dotted, as `--set` takes it.
        values: what it takes, in words.
        default: as JSON text.
        description: what it does.
    """

    name: str
    values: str
    default: str
    description: str

    @property
    def section(self) -> str:
        """The part before the dot; empty for a key outside of all sections."""
        return self.name.rpartition(".")[0]

    @property
    def leaf(self) -> str:
        """The part after the dot."""
        return self.name.rpartition(".")[2]


def _keys(model: type[BaseModel], prefix: str = "") -> dict[str, Key]:
    schema = model.model_json_schema(by_alias=False)
    keys: dict[str, Key] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= _keys(kind, f"{prefix}{name}.")
            continue
        assert field.description, f"{prefix}{name} is not described"
        values = _values(schema["properties"][name])
        default = json.dumps(field.default)
        keys[f"{prefix}{name}"] = Key(f"{prefix}{name}", values, default, field.description)
    return keys


def _values(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in a few words."""
    if "anyOf" in schema:
        return " or ".join(_values(option) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" not in schema:
            return "a list of texts"
        items = schema["prefixItems"]
        return f"{len(items)} of: {_values(items[0])}"
    if kind == "object":
        return "a mapping of texts to texts"
    names = {"integer": "whole number", "number": "number", "string": "text", "null": "null"}
    return names[str(kind)] + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    return " " + ", ".join(limits) if limits else ""


KEYS: Final = _keys(RunConfig)


def sections() -> dict[str, str]:
    """What each section is about, by name."""
    return {
        name: (field.annotation.__doc__ or "").strip()
        for name, field in RunConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def reference() -> str:
    """All keys as a page of Markdown: docs/reference/configuration.md."""
    parts = [
        "# Configuration",
        "Every key of a configuration, made by `scripts/reference.py` from the "
        "model in `medvae/config.py`; a test says when it is out of date. `medvae config explain "
        "KEY` shows the same. A configuration is a preset (`medvae config list`) or a YAML file, "
        "with `--set section.key=value` on top. All values are public.",
    ]
    outside = [key for key in KEYS.values() if not key.section]
    parts += ["## Outside of sections", _table(outside)]
    for name, about in sections().items():
        parts += [
            f"## {name}",
            about,
            _table([key for key in KEYS.values() if key.section == name]),
        ]
    return "\n\n".join(parts) + "\n"


def _table(keys: list[Key]) -> str:
    lines = ["| key | takes | default | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{key.name}` | {key.values} | `{key.default}` | {key.description} |" for key in keys
    ]
    return "\n".join(lines)
