"""Configurations as files: presets that ship with the package, YAML, `--set`, clear refusals."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from medvae.config import RunConfig
from medvae.config_keys import KEYS, Key
from medvae.errors import UsageError

# Two keys less alike than this have nothing to do with each other.
_NEAR = 0.7


@dataclass(frozen=True)
class Preset:
    """A configuration that ships with the package.

    Attributes:
        name: as `-c` takes it.
        summary: its first comment, one line.
        text: the YAML.
    """

    name: str
    summary: str
    text: str


def presets() -> dict[str, Preset]:
    """All presets by name, sorted."""
    folder = files("medvae").joinpath("configs")
    by_name = {}
    for item in folder.iterdir():
        if item.name.endswith(".yaml"):
            name = item.name.removesuffix(".yaml")
            text = item.read_text(encoding="utf-8")
            by_name[name] = Preset(name, text.partition("\n")[0].removeprefix("# "), text)
    return dict(sorted(by_name.items()))


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: there is none; the message names the nearest, or all.
    """
    shipped = presets()
    if name not in shipped:
        raise UsageError(f"there is no preset {name!r}; {_nearest(name, shipped)}")
    return shipped[name]


def load_config(
    source: str | os.PathLike[str], overrides: list[str] | tuple[str, ...] = ()
) -> RunConfig:
    """A preset's name or a YAML file, with `key.path=value` overrides on top.

    A preset wins over a file of the same name in the working folder: write ./NAME for that.

    Raises:
        UsageError: there is no such preset or file, it is not YAML, a key is unknown (the
            nearest is named), or a value is wrong.
    """
    text = _text(source)
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"configuration {source} is not valid YAML: {line}") from error
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise UsageError(f"configuration {source} must be a mapping of sections, such as data:")
    for item in overrides:
        _override(raw, item)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"configuration {source}: {_first_error(error)}") from error


def explain(name: str) -> list[Key]:
    """The key of that name, or all keys of the section of that name.

    Raises:
        UsageError: there is neither; the message names the nearest key.
    """
    keys = [key for key in KEYS.values() if key.name == name or key.section == name]
    if not keys:
        raise UsageError(f"there is no configuration key {name!r}; {nearest_key(name)}")
    return keys


def nearest_key(name: str) -> str:
    """Where to look instead of an unknown key, as the end of a sentence."""
    sections = list(dict.fromkeys(key.section for key in KEYS.values() if key.section))
    # `epsilon` is as near to `privacy.epsilon`: a section is easily forgotten or mixed up.
    leaf = name.rpartition(".")[2]
    near = [(_similarity(name, candidate), candidate) for candidate in [*KEYS, *sections]]
    near += [(_similarity(leaf, key.leaf), key.name) for key in KEYS.values()]
    likeness, nearest = max(near)
    if likeness >= _NEAR:
        return f"the nearest is {nearest} (see: medvae config explain {nearest})"
    return f"its sections are {', '.join(sections)} (see: medvae config explain SECTION)"


def _similarity(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, word, other).ratio()


def _text(source: str | os.PathLike[str]) -> str:
    name = os.fspath(source)
    shipped = presets()
    if name in shipped:
        return shipped[name].text
    try:
        return Path(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"there is no configuration {name}, neither a file nor a preset; "
            f"{_nearest(Path(name).stem, shipped)}"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read configuration {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"configuration {name} is not valid YAML: not UTF-8") from error


def _nearest(name: str, shipped: dict[str, Preset]) -> str:
    close = difflib.get_close_matches(name, shipped, n=1)
    return f"the nearest preset is {close[0]}" if close else f"presets are {', '.join(shipped)}"


def _override(raw: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {item!r} must have the form section.key=value")
    *parents, leaf = key.split(".")
    node = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise UsageError(f"--set {key}: {parent} is not a section")
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: {text!r} is not a YAML value") from error


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}; {nearest_key(where)}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason} (got {first['input']!r})" if first["loc"] else reason
