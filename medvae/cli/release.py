"""medvae release create | verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.generate import Class, Folder, Number, Seed
from medvae.cli.output import plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.words import Model
from medvae.errors import IntegrityError

app = typer.Typer(help="Releases: signed folders of synthetic volumes.", no_args_is_help=True)


@app.command()
def create(
    model: Model,
    n: Number,
    out: Folder,
    fmt: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Layout: bids (NIfTI, default), dicom or nnunet; of pictures folder (PNG).",
        ),
    ] = None,
    seed: Seed = None,
    category: Class = None,
    title: Annotated[str, typer.Option(help="Name of the data set on its card.")] = "",
    body_part: Annotated[str, typer.Option(help="Body part in words, such as hippocampus.")] = "",
    suffix: Annotated[str, typer.Option(help="BIDS suffix of MR images.")] = "T1w",
    label: Annotated[
        list[str] | None, typer.Option(help="Name of mask label 1, 2, ...; repeatable.")
    ] = None,
    license_: Annotated[
        str, typer.Option("--license", help="Licence of the data set, as SPDX.")
    ] = "",
) -> None:
    """Create a release: generate volumes, check them at the gate, describe and sign them."""
    with progress() as bar:
        result = settings.session().releases.create(
            model,
            n,
            out,
            seed=seed,
            fmt=fmt,
            title=title,
            body_part=body_part,
            suffix=suffix,
            label_names=tuple(label or ()),
            licence=license_,
            category=category,
            progress=bar,
        )
    lines = [
        f"Release: {result.release}",
        f"Report:  {result.report}",
        f"{plural(n, 'volume')}; epsilon {result.epsilon:.4g} for each patient; "
        f"signed by {result.signer}",
    ]
    show(result, lines)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the release.")],
    public_key: Annotated[
        Path | None,
        typer.Option(help="File of the signer's key, from another source than the release."),
    ] = None,
) -> int:
    """Check a release; needs no vault. Changes and forgery end with exit code 4."""
    from medvae.api import verify_release

    with progress() as bar:
        result = verify_release(folder, public_key, progress=bar)
    state = {
        True: f"valid; signed by {result.signer}",
        None: f"unchanged, signer unknown ({result.signer})",
        False: "NOT VALID",
    }[result.valid]
    lines = [f"{folder}: {state}", *(f"  {problem}" for problem in result.problems)]
    if result.valid is None:
        lines.append(
            "Compare the fingerprint with the one that the hospital publishes, or give "
            "--public-key."
        )
    show(result, lines)
    return IntegrityError.exit_code if result.valid is False else 0
