"""No public signature of the API holds `Any`, however deep."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import medvae.api
from medvae.api.results.base import Json

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(medvae.api.__path__, "medvae.api.")
)


def names_of(module: ModuleType) -> dict[str, object]:
    """The module's names, with those that it imports for the type checker alone."""
    names = {"Json": Json, **vars(module)}
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    checking = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    for block in checking:
        for statement in block.body:
            exec(ast.unparse(statement), names)
    return names


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Public functions, classes and methods that are defined in the module."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name, value
        if inspect.isclass(value):
            for member_name, member in vars(value).items():
                plain = getattr(member, "fget", getattr(member, "__func__", member))
                if inspect.isfunction(plain) and not member_name.startswith("_"):
                    yield f"{name}.{member_name}", plain


def holds_any(hint: object) -> bool:
    """Whether `Any` is somewhere in an annotation; a bare array's shape is not asked."""
    if typing.get_origin(hint) is np.ndarray:
        return any(map(holds_any, typing.get_args(hint)[1:]))
    return hint is Any or any(map(holds_any, _parts(hint)))


def _parts(hint: object) -> Iterator[object]:
    for part in typing.get_args(hint):
        yield from part if isinstance(part, list) else [part]


def loose(value: object, names: dict[str, object]) -> list[str]:
    """The parameters, attributes and results of `value` whose annotation holds `Any`."""
    if inspect.isclass(value):
        # Annotations of a base are resolved where the base is.
        bases = [base for base in value.__mro__ if base.__module__.startswith("medvae")]
        modules = [names_of(sys.modules[base.__module__]) for base in reversed(bases)]
        names = {key: value for module in modules for key, value in module.items()} | names
    hints = typing.get_type_hints(value, names)
    return [name for name, hint in hints.items() if holds_any(hint)]


@pytest.mark.parametrize("name", MODULES)
def test_no_public_signature_of_a_module_holds_any(name: str) -> None:
    module = importlib.import_module(name)
    names = names_of(module)
    assert {what: found for what, value in public(module) if (found := loose(value, names))} == {}


def test_any_is_found_however_deep() -> None:
    def nested(a: dict[str, list[tuple[Any, ...]]], b: npt.NDArray[Any], c: int) -> None: ...

    def precise(a: dict[str, list[int]], b: npt.NDArray[np.generic]) -> Json: ...

    assert loose(nested, globals()) == ["a", "b"]
    assert loose(precise, globals()) == []


def test_every_module_shows_something() -> None:
    """The walk sees the API: its verbs, its results and its records."""
    seen = {what for name in MODULES for what, _ in public(importlib.import_module(name))}
    assert {"Session", "Session.train", "Manifest", "ReleaseInfo", "stitch"} <= seen
    assert len(seen) > 300
