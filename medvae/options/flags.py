"""How a field of an options class is asked for at the command line, and passed in Python."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from medvae.progress import Progress

if TYPE_CHECKING:
    from typing import Any, ClassVar

PathLike = str | os.PathLike[str]
# Where the metadata of a field hold its flag, or the flags of the fields of its own class.
KEY, GROUP = "medvae.flag", "medvae.flags"

Owner = TypeVar("Owner")
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
P = ParamSpec("P")


@dataclass(frozen=True)
class Flag:
    """A flag, or an argument without one.

    Attributes:
        text: what help says.
        names: with their hyphens; none: made of the field's name.
        argument: the word that stands for an argument in help; None: it is a flag.
        read: makes the field's value of the word on the line; it raises ValueError, whose text is
            the sentence that the user sees.
    """

    text: str
    names: tuple[str, ...] = ()
    argument: str | None = None
    read: Callable[[str], object] | None = None


def flag(text: str, *names: str, read: Callable[[str], object] | None = None) -> Mapping[str, Flag]:
    """Metadata of a field that the command line asks by a flag."""
    return {KEY: Flag(text, names, None, read)}


def argument(word: str, text: str) -> Mapping[str, Flag]:
    """Metadata of a field that the command line takes without a flag."""
    return {KEY: Flag(text, (), word)}


def group(**flags: Mapping[str, Flag]) -> Mapping[str, Mapping[str, Flag]]:
    """Metadata of a field whose value is of a class of its own: a flag for each of its fields.

    flags: in the order of help, by the names of those fields; others are left at their default.
    """
    return {GROUP: {name: metadata[KEY] for name, metadata in flags.items()}}


def names_of(text: str) -> list[str]:
    """Names between commas; none for the word none."""
    return [] if text.strip() == "none" else [name.strip() for name in text.split(",")]


class Options(Protocol):
    """A value of an options class."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def arguments(options: Options, progress: Progress | None = None) -> dict[str, Any]:
    """Every field by its name, with another listener: what the session's method is called with."""
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return values if progress is None else values | {"progress": progress}


class takes(Generic[P, Asked]):  # noqa: N801 - a decorator
    """A method of one value of an options class that is called with the fields of that class.

        @takes(TrainOptions)
        def train(self, options: TrainOptions) -> TrainResult: ...

        session.train("mri", "liver-ct", "first", epsilon=8)

    A type checker sees the fields, with their names, types and defaults; so does `help`.
    """

    def __init__(self, options: Callable[P, Asked]) -> None:
        self._options = options

    def __call__(
        self, method: Callable[[Owner, Asked], Answer]
    ) -> Callable[Concatenate[Owner, P], Answer]:
        """The method with the signature of the options class."""
        options = self._options

        @functools.wraps(method)
        def called(owner: Owner, /, *values: P.args, **named: P.kwargs) -> Answer:
            return method(owner, options(*values, **named))

        asked, own = inspect.signature(options), inspect.signature(method)
        owner = next(iter(own.parameters.values()))
        signature = own.replace(parameters=[owner, *asked.parameters.values()])
        called.__signature__ = signature  # type: ignore[attr-defined]
        return called


def called_with(
    options: Callable[P, Asked],
) -> Callable[[Callable[[Asked], Answer]], Callable[P, Answer]]:
    """As `takes`, of a function of one value of an options class."""

    def decorate(function: Callable[[Asked], Answer]) -> Callable[P, Answer]:
        @functools.wraps(function)
        def called(*values: P.args, **named: P.kwargs) -> Answer:
            return function(options(*values, **named))

        asked, own = inspect.signature(options), inspect.signature(function)
        signature = own.replace(parameters=list(asked.parameters.values()))
        called.__signature__ = signature  # type: ignore[attr-defined]
        return called

    return decorate
