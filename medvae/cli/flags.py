"""Flags of a verb, made of the fields of its options class."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from medvae.options.flags import KEY, Flag

Options = TypeVar("Options")
Answer = TypeVar("Answer")


def flags(
    options: type[Options],
) -> Callable[[Callable[[Options], Answer]], Callable[..., Answer]]:
    """A verb of one value of an options class, as typer takes it: a parameter a flag.

    Fields without a flag are left at their default.
    """
    hints = get_type_hints(options)
    # The order of the signature: what can stand without its name comes first.
    order = list(inspect.signature(options).parameters)
    by_name = {field.name: field for field in fields(options)}  # type: ignore[arg-type]
    asked = [by_name[name] for name in order if KEY in by_name[name].metadata]
    words = {_word(field): field for field in asked}

    def decorate(verb: Callable[[Options], Answer]) -> Callable[..., Answer]:
        def run(**line: Any) -> Answer:
            values = {words[word].name: value for word, value in line.items()}
            return verb(options(**_read(values, by_name)))

        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [_parameter(word, field, hints[field.name]) for word, field in words.items()]
        )
        run.__annotations__ = {}
        return run

    return decorate


def _word(field: Field[Any]) -> str:
    """What typer calls the field, which help shows of an argument."""
    return _flag(field).argument or field.name


def _flag(field: Field[Any]) -> Flag:
    described: Flag = field.metadata[KEY]
    return described


def _parameter(word: str, field: Field[Any], hint: object) -> inspect.Parameter:
    """A parameter as typer reads it."""
    described = _flag(field)
    kind, plain = _kind(hint, described)
    info = (
        typer.Option(*described.names, help=described.text)
        if described.argument is None
        else typer.Argument(help=described.text)
    )
    default = field.default
    if default is MISSING:
        default, shown = inspect.Parameter.empty, kind
    elif plain:
        shown = hint if kind is not Path else Path | None
    else:
        default, shown = None, kind | None
    return inspect.Parameter(
        word,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[shown, info],
    )


def _kind(hint: object, described: Flag) -> tuple[Any, bool]:
    """The type of the words on the line, and whether the field's own default is of it."""
    if described.read is not None:
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


def _read(values: dict[str, Any], by_name: dict[str, Field[Any]]) -> dict[str, Any]:
    """The values of the fields that the line names."""
    options = {}
    for name, value in values.items():
        if value is None:
            continue
        read = _flag(by_name[name]).read
        try:
            options[name] = value if read is None else read(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return options
