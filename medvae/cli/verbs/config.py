"""medvae config list | show | copy | explain"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import objects, show, table

AFTER = "send"

app = typer.Typer(help="Configurations: presets, and what each key means.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of a preset.")]


@app.command("list")
def list_() -> None:
    """List the presets that ship with medvae; -c takes their names."""
    from medvae import api

    presets = api.configs()
    rows = [(preset.name, preset.summary) for preset in presets]
    show({"configs": objects(presets)}, table(("name", "for"), rows))


@app.command("show")
def show_(name: Name) -> None:
    """Print a preset."""
    from medvae import api

    text = api.config_text(name)
    show({"configs": [{"name": name, "text": text}]}, text.splitlines())


@app.command()
def copy(
    name: Name,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File to write; NAME.yaml by default.")
    ] = None,
) -> None:
    """Write a preset to a file, to change and to pass to -c."""
    from medvae import api

    path = api.copy_config(name, out)
    show({"configs": [{"name": name, "file": str(path)}]}, [f"{path}: change it, then -c {path}"])


@app.command()
def explain(
    key: Annotated[
        str | None, typer.Argument(help="Key as section.key, or a section; all keys by default.")
    ] = None,
) -> None:
    """Explain a key: meaning, values, default, and its value in each preset."""
    from medvae import api

    keys = api.explain_config(key)
    lines = []
    for key_info in keys:
        lines.append(f"{key_info.name}: {key_info.values}; default {key_info.default}")
        lines.append(f"  {key_info.description}")
        if len(keys) == 1:
            lines += [f"  {name}: {value}" for name, value in key_info.configs.items()]
    show({"configs": objects(keys)}, lines)
