"""Flags of a verb, made of the fields of its options class."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from medvae.options.flags import GROUP, KEY, Flag

Options = TypeVar("Options")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Asked:
    """A flag or argument of a verb.

    Attributes:
        name: of its field.
        flag: what the field says of it.
        parameter: as typer reads it.
        group: the field that holds a value of the class of this field; None: it is the verb's own.
    """

    name: str
    flag: Flag
    parameter: inspect.Parameter
    group: str | None = None


def flags(
    options: type[Options],
) -> Callable[[Callable[[Options], Answer]], Callable[..., Answer]]:
    """A verb of one value of an options class, as typer takes it: a parameter a flag.

    Fields without a flag are left at their default.
    """
    asked = list(_asked(options))

    def decorate(verb: Callable[[Options], Answer]) -> Callable[..., Answer]:
        def run(**line: Any) -> Answer:
            return verb(_value(options, asked, line))

        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [one.parameter for one in asked]
        )
        run.__annotations__ = {}
        return run

    return decorate


def _asked(options: type[Any]) -> Iterator[_Asked]:
    """In the order of the signature: what can stand without its name comes first."""
    hints = get_type_hints(options)
    by_name = {field.name: field for field in fields(options)}
    for name in inspect.signature(options).parameters:
        field = by_name[name]
        if KEY in field.metadata:
            flag = field.metadata[KEY]
            yield _Asked(name, flag, _parameter(field, flag, hints[name]))
        described: Mapping[str, Flag] = field.metadata.get(GROUP, {})
        if described:
            kind = _one(hints[name])
            own, inside = get_type_hints(kind), {field.name: field for field in fields(kind)}
            for part, flag in described.items():
                yield _Asked(part, flag, _parameter(inside[part], flag, own[part]), name)


def _parameter(field: Field[Any], flag: Flag, hint: object) -> inspect.Parameter:
    """A parameter as typer reads it."""
    kind, plain = _kind(hint, flag)
    info = (
        typer.Option(*flag.names, help=flag.text)
        if flag.argument is None
        else typer.Argument(help=flag.text)
    )
    default = field.default
    if default is MISSING:
        default, shown = inspect.Parameter.empty, kind
    elif plain:
        shown = hint if kind is not Path else Path | None
    else:
        default, shown = None, kind | None
    return inspect.Parameter(
        # What typer calls the field, which help shows of an argument.
        flag.argument or field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[shown, info],
    )


def _kind(hint: object, flag: Flag) -> tuple[Any, bool]:
    """The type of the words on the line, and whether the field's own default is of it."""
    if flag.read is not None:
        return str, False
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Sequence:
            return list[_one(*get_args(part))], False  # type: ignore[misc]
    return _one(hint), True


def _one(hint: object) -> Any:
    """A path where one may be given, else the one type beside None."""
    types = [one for one in (get_args(hint) or (hint,)) if one is not type(None)]
    if any(get_origin(one) is os.PathLike for one in types):
        return Path
    return types[0]


def _value(options: type[Options], asked: Sequence[_Asked], line: Mapping[str, Any]) -> Options:
    """The value that a line stands for; what it does not name is left at its default."""
    values: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {one.group: {} for one in asked if one.group}
    for one in asked:
        value = line[one.parameter.name]
        if value is not None:
            own = values if one.group is None else groups[one.group]
            own[one.name] = _read(value, one.flag)
    kinds = get_type_hints(options)
    return options(**values, **{name: _one(kinds[name])(**own) for name, own in groups.items()})


def _read(value: Any, flag: Flag) -> Any:
    try:
        return value if flag.read is None else flag.read(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
