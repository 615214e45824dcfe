"""medvae model list | show | compress | export"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from medvae.cli.output import show, size, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.words import Model, NewFolder

app = typer.Typer(help="Models: the sealed results of training.", no_args_is_help=True)

_COLUMNS = ("model", "private", "epsilon", "delta", "dataset", "weights", "source")


@app.command("list")
def list_() -> None:
    """Every model."""
    found = settings.session().models()
    rows = [[model[column] for column in _COLUMNS] for model in found]
    show({"models": found}, table(_COLUMNS, rows) if rows else ["No model yet."])


@app.command("show")
def show_(name: Model) -> None:
    """A model's guarantee, size, what compression cost it, and its configuration."""
    result = settings.session().model(name)
    facts = result["facts"]
    rows = [(column, result[column]) for column in _COLUMNS if result[column] is not None]
    rows += [("parameters", result["parameters"]), ("bytes", size(result["bytes"]))]
    lines = table(("", ""), rows)[1:]
    if "compression" in facts:
        lines += ["", *_compressed(facts["compression"])]
    rest = {key: value for key, value in facts.items() if key in ("config", "plan", "stages")}
    show(result, [*lines, "", *json.dumps(rest, indent=2, default=str).splitlines()])


def _compressed(stated: dict[str, Any]) -> list[str]:
    """What compression cost, for a person."""
    before, after = stated["bytes_before"], stated["bytes_after"]
    lines = [
        f"Compressed from {stated['source']}: {size(before)} to {size(after)}; reconstruction "
        f"{stated['psnr_before']:.2f} dB to {stated['psnr_after']:.2f} dB ({stated['psnr_of']})."
    ]
    apart = stated["volumes"]
    if apart:
        lines.append(
            f"Volumes of one seed are {apart['rms']:.2%} of the intensity range apart "
            f"(root mean square of {apart['n']}), {apart['largest']:.2%} at most."
        )
    return lines


@app.command()
def compress(
    name: Model,
    to: Annotated[str, typer.Option("--to", help="A name for the smaller model.")],
    weights: Annotated[str, typer.Option(help="bf16 or int8")] = "int8",
    prune: Annotated[
        float, typer.Option(help="Part of the weights, the smallest, to drop (0 to below 1).")
    ] = 0.0,
) -> None:
    """Make a smaller form of a model: the same guarantee, fewer bytes. Costs no privacy."""
    with progress() as bar:
        result = settings.session().compress_model(
            name, to, weights=weights, prune=prune, progress=bar
        )
    show(result, _compressed(result))


@app.command()
def export(
    name: Model,
    out: NewFolder,
    fmt: Annotated[
        str, typer.Option("--format", help="safetensors, onnx or torchscript")
    ] = "safetensors",
) -> None:
    """Write a model's weights in the open (its guarantee goes with it)."""
    result = settings.session().export_model(name, out, fmt)
    show(result, [f"Wrote {', '.join(result['files'])}"])
