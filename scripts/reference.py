"""Write docs/reference from the code: configuration keys, verbs, and the Python API.

`scripts/docs` runs it. Only the page of keys is kept in the repository: after a change of a key run
this, for a test fails while that page is out of date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from medvae import api
from medvae.api import namespaces, results
from medvae.cli.app import build
from medvae.cli.settings import GLOBALS_HELP
from medvae.config_keys import reference as configuration

OUT = Path(__file__).resolve().parents[1] / "docs" / "reference"
_MADE = "Made by `scripts/reference.py` from the code; do not edit.\n"
_NOUNS = (
    namespaces.Datasets,
    namespaces.Models,
    namespaces.Keys,
    namespaces.Log,
    namespaces.Releases,
)


def command_line() -> str:
    """Every verb with its arguments and options."""
    parts = ["# Command line\n", _MADE, f"{GLOBALS_HELP}\n"]
    for name, command in build().commands.items():  # type: ignore[attr-defined]
        parts += _verb(f"medvae {name}", command, 2)
    return "\n".join(parts)


def _verb(name: str, command: Any, level: int) -> Iterator[str]:
    below: dict[str, Any] = getattr(command, "commands", {})
    yield f"{'#' * level} `{name}`\n"
    yield f"{_flat(command.help)}\n"
    if rows := [_parameter(one) for one in command.params if not _is_help(one)]:
        yield "| argument or option | meaning | default |\n|---|---|---|"
        yield "\n".join(rows) + "\n"
    for verb, one in below.items():
        yield from _verb(f"{name} {verb}", one, level + 1)


def _kind(annotation: Any) -> str:
    """The type of a value in one word: TEXT, INTEGER, FLOAT, PATH."""
    words = {int: "INTEGER", float: "FLOAT", Path: "PATH"}
    return words.get(annotation, "TEXT")


def _is_help(parameter: Any) -> bool:
    return parameter.name == "help"


def _parameter(parameter: Any) -> str:
    option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    shown = names if option else f"`{parameter.name.upper()}`"
    if option and not parameter.is_flag:
        shown += f" {_kind(parameter.type_descriptor.annotation)}"
    default = parameter.default
    if parameter.required:
        stated = "required"
    elif default in (None, "", False) or callable(default):
        stated = ""
    else:
        stated = f"`{default}`"
    text = _flat(getattr(parameter, "help", None) or "")
    return f"| {_cell(shown)} | {_cell(text)} | {_cell(stated)} |"


def python() -> str:
    """Functions, the session and its nouns, and the results."""
    parts = ["# Python API\n", _MADE, "## Functions of `medvae.api`\n"]
    for name in api.__all__:
        one = getattr(api, name)
        if not isinstance(one, type):
            parts += _function(f"medvae.api.{name}", one, 3)
    parts += _class("medvae.Session", api.Session)
    for noun in _NOUNS:
        parts += _class(f"session.{noun.__name__.lower()}", noun)
    parts += _class("medvae.Release", api.Release)
    parts += _class("medvae.api.Link", api.Link)
    parts.append("## Results\n")
    parts.append("All are frozen and have `to_json()`. Fields of a base class come first.\n")
    shared = {name: getattr(results, name) for name in results.__all__}
    for name, one in (shared | _own_results()).items():
        if is_dataclass(one) and isinstance(one, type):
            parts += _result(name, one)
    return "\n".join(parts)


def _own_results() -> dict[str, Any]:
    """Results that stand beside the work of their verb, and not in `medvae.api.results`."""
    owners = [*api.Session.__mro__, *_NOUNS]
    verbs = [member for owner in owners for member in vars(owner).values()]
    verbs += [getattr(api, name) for name in api.__all__]
    kinds: dict[str, Any] = {}
    for verb in filter(inspect.isfunction, verbs):
        name = str(inspect.signature(verb).return_annotation)
        kind = inspect.unwrap(verb).__globals__.get(name)
        if isinstance(kind, type) and issubclass(kind, results.Result) and is_dataclass(kind):
            kinds[name] = kind
    return dict(sorted(kinds.items()))


def _class(name: str, kind: type) -> Iterator[str]:
    yield f"## `{name}`\n"
    yield f"{_docstring(kind)}\n"
    # A class may have its verbs from a base, which comes first.
    for member, value in ((m, v) for base in reversed(kind.__mro__) for m, v in vars(base).items()):
        function = value.__func__ if isinstance(value, classmethod) else value
        if inspect.isfunction(function) and not member.startswith("_"):
            yield from _function(f"{name}.{member}", function, 3)


def _function(name: str, function: Callable[..., Any], level: int) -> Iterator[str]:
    signature = inspect.signature(function)
    shown = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    kept = str(signature.replace(parameters=shown)).replace("'", "").replace("results.", "")
    # The default of `progress` is an object, which shows its address.
    kept = re.sub(r"<medvae\.progress\.Silent object at 0x[0-9a-f]+>", "SILENT", kept)
    yield f"{'#' * level} `{name}`\n"
    yield f"```python\n{name.rpartition('.')[2]}{kept}\n```\n"
    yield f"{_docstring(function)}\n"


def _result(name: str, kind: type) -> Iterator[str]:
    yield f"### `{name}`\n"
    yield f"{_docstring(kind)}\n"
    if rows := [f"| `{field.name}` | `{_cell(str(field.type))}` |" for field in fields(kind)]:  # type: ignore[arg-type]
        yield "| field | type |\n|---|---|"
        yield "\n".join(rows) + "\n"


def _docstring(value: object) -> str:
    """A docstring as Markdown: its sections (Args, Raises, Attributes) as lists."""
    text = inspect.getdoc(value) or ""
    lines: list[str] = []
    section = False
    for line in text.splitlines():
        heading = re.fullmatch(r"(Args|Raises|Returns|Attributes):(.*)", line)
        if heading:
            section = True
            lines += [f"*{heading[1]}*{heading[2]}", ""]
        elif section and re.match(r" {4}\S", line):
            lines.append(re.sub(r"^ {4}([\w, ]+?):", r"* `\1`:", line))
        elif section and line.startswith(" "):
            lines.append(f"  {line.strip()}")
        else:
            section = section and not line.strip()
            lines.append(line)
    return "\n".join(lines).strip()


def _flat(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line,
    "configuration.md": configuration,
    "python.md": python,
}


def main() -> int:
    """Write every page."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (OUT / name).write_text(page().rstrip() + "\n", encoding="utf-8")
        print(OUT / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
