"""medvae model list | show | export"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import show, table
from medvae.cli.settings import settings

app = typer.Typer(help="Models: the sealed results of training.", no_args_is_help=True)

_COLUMNS = ("model", "private", "epsilon", "delta", "dataset")


@app.command("list")
def list_() -> None:
    """Every model."""
    found = settings.session().models()
    rows = [[model[column] for column in _COLUMNS] for model in found]
    show({"models": found}, table(_COLUMNS, rows) if rows else ["No model yet."])


@app.command("show")
def show_(name: str) -> None:
    """A model's guarantee, configuration and plan."""
    result = settings.session().model(name)
    show(result, json.dumps(result, indent=2, default=str).splitlines())


@app.command()
def export(
    name: str,
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder.")],
    fmt: Annotated[
        str, typer.Option("--format", help="safetensors, onnx or torchscript")
    ] = "safetensors",
) -> None:
    """Write a model's weights in the open (its guarantee goes with it)."""
    result = settings.session().export_model(name, out, fmt)
    show(result, [f"Wrote {', '.join(result['files'])}"])
