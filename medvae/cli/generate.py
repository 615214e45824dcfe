"""medvae generate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings

Number = Annotated[int, typer.Option("-n", help="Number of volumes.")]
Folder = Annotated[
    Path, typer.Option("-o", "--out", help="Folder to write to; must be new or empty.")
]
Class = Annotated[
    int | None,
    typer.Option("--class", help="Draw this class only (0, 1, ...), from a model with classes."),
]
Site = Annotated[
    str | None,
    typer.Option("--site", help="Draw this hospital or scanner only, from a model with sites."),
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the draws; the same seed gives the same voxels.")
]
Spacing = Annotated[
    str | None,
    typer.Option(
        help="Voxel size in mm, one number or three with commas, of a model with an anatomy "
        "library; default: the library's."
    ),
]


def run(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    n: Number,
    out: Folder,
    fmt: Annotated[
        str | None,
        typer.Option(
            "--format", help="Files: nifti (default) or dicom; of pictures png (default) or nifti."
        ),
    ] = None,
    seed: Seed = None,
    category: Class = None,
    site: Site = None,
    spacing: Spacing = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Draw part i of k of the set, as i/k (1/4, ...): the same files as in one run "
            "with this --seed."
        ),
    ] = None,
    from_labels: Annotated[
        Path | None,
        typer.Option(
            help="Label map (NIfTI, NRRD, MetaImage, MGH) in the model's label scheme: volumes "
            "show these labels, on its grid. As private as that file."
        ),
    ] = None,
) -> None:
    """Draw synthetic volumes from a model. Costs no privacy."""
    with progress() as bar:
        result = settings.session().generate(
            model,
            n,
            out,
            seed=seed,
            fmt=fmt,
            category=category,
            site=site,
            spacing=None if spacing is None else _millimetres(spacing),
            shard=None if shard is None else _part(shard),
            from_labels=from_labels,
            progress=bar,
        )
    show(result, [f"{plural(result.n, 'volume')} in {out} (seed {result.seed})."])


def _part(text: str) -> tuple[int, int]:
    try:
        part, parts = text.split("/")
        return int(part), int(parts)
    except ValueError:
        raise typer.BadParameter(f"--shard is i/k, such as 1/4, not {text!r}") from None


def _millimetres(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"--spacing is one number or three with commas, such as 2 or 1,1,3, not {text!r}"
        ) from None
