"""The table of verbs, made of the files in `medvae/cli/verbs`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import typer

from medvae.cli import verbs
from medvae.cli.output import show
from medvae.cli.settings import GLOBALS_HELP


def build(line: Sequence[str] = ()) -> Callable[..., Any]:
    """The command line, in the order of the journey.

    line: the words that it is to read. Where the first one is a verb, the others are left out:
        to load them takes longer than to load the one.
    """
    app = typer.Typer(
        name="medvae",
        help="Synthetic medical volumes that can be shared: patient-level differential privacy, "
        "a sealed vault, signed releases.",
        epilog=GLOBALS_HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_top)
    for name, module in _modules(line[0] if line else None).items():
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name, epilog=GLOBALS_HELP)(module.run)
    return typer.main.get_command(app)


def journey(after: Mapping[str, str | None]) -> list[str]:
    """Names in an order in which each stands behind the one that it is after.

    Of several after the same one, those that fewer follow come first: a new verb stands directly
    behind the one that it names, and what stood there comes next.

    Raises:
        ValueError: a name is after one that does not exist, or after itself by a detour.
    """

    def line(name: str | None) -> list[str]:
        followers = sorted(follower for follower in after if after[follower] == name)
        parts = sorted(([follower, *line(follower)] for follower in followers), key=len)
        return [each for part in parts for each in part]

    names = line(None)
    if lost := sorted(set(after) - set(names)):
        raise ValueError(f"AFTER of {', '.join(lost)} names no file that leads back to the first")
    return names


def _modules(only: str | None) -> dict[str, ModuleType]:
    """The files of `medvae/cli/verbs` by their names, in order; the one that is asked for alone."""
    names = [module.name for module in pkgutil.iter_modules(verbs.__path__)]
    if only in names:
        names = [only]
    modules = {name: importlib.import_module(f"{verbs.__name__}.{name}") for name in names}
    if len(names) == 1:
        return modules
    return {name: modules[name] for name in journey({n: m.AFTER for n, m in modules.items()})}


def _top(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from medvae import __version__

        show({"version": __version__}, [f"medvae {__version__}"])
        raise typer.Exit
