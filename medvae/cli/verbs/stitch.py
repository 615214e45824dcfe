"""medvae stitch"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, show
from medvae.cli.progress import progress

AFTER = "generate"


def run(
    parts: Annotated[
        list[Path], typer.Argument(help="Two or more overlapping volumes or pictures.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="File to write: a new .nii.gz, .nii or .png.")
    ],
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Label map of a part; give the option once a part, in their order."),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="What the parts are; needed for pictures (xray, photo).")
    ] = None,
    transform: Annotated[
        str, typer.Option(help="What registration may do: translation, rigid or affine.")
    ] = "rigid",
    match: Annotated[
        bool | None,
        typer.Option(
            "--match-intensity/--keep-intensity",
            help="Match gain and offset in the overlap; by default where grey values have no "
            "absolute scale (MRI, pictures).",
        ),
    ] = None,
) -> None:
    """Make one volume or picture of overlapping parts; needs no vault."""
    from medvae.api import stitch

    with progress() as bar:
        result = stitch(
            parts,
            out,
            labels=labels or (),
            modality=modality,
            transform=transform,
            match=match,
            progress=bar,
        )
    note("The output shows the person that the parts show: it is not synthetic.")
    lines = [f"{result.output}: {' x '.join(map(str, result.shape))}"]
    for part in result.transforms:
        if part.start != "first":
            lines.append(
                f"{part.source}: placed from the {part.start}, correlation {part.correlation:.3f}, "
                f"gain {part.gain:.3f}"
            )
        lines += [f"  resampled: {reason}" for reason in part.resampled]
    show(result, lines)
