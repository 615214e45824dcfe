"""The table of verbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from medvae.cli import (
    anatomy,
    audit,
    budget,
    config,
    dataset,
    decode,
    demo,
    doctor,
    encode,
    evaluate,
    generate,
    ingest,
    keys,
    listen,
    log,
    model,
    plan,
    pretrain,
    pull,
    reconstruct,
    release,
    repair,
    send,
    stitch,
    subject,
    tenant,
    train,
    verify,
)
from medvae.cli.output import show
from medvae.cli.settings import GLOBALS_HELP


def build() -> Callable[..., Any]:
    """The whole command line, in the order of the journey."""
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
    single = (doctor, demo, ingest, pull, listen, verify, repair, plan, pretrain, train, budget)
    for module in single:
        app.command(module.__name__.rpartition(".")[2], epilog=GLOBALS_HELP)(module.run)
    for group in (config, tenant, keys, dataset, anatomy, subject, model, release, log):
        app.add_typer(group.app, name=group.__name__.rpartition(".")[2])
    for module in (generate, stitch, encode, decode, reconstruct, evaluate, audit, send):
        app.command(module.__name__.rpartition(".")[2], epilog=GLOBALS_HELP)(module.run)
    return typer.main.get_command(app)


def _top(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from medvae import __version__

        show({"version": __version__}, [f"medvae {__version__}"])
        raise typer.Exit
