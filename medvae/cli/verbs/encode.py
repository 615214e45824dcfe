"""medvae encode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note, plural, show, table
from medvae.cli.settings import settings
from medvae.cli.words import Model, Scan
from medvae.space import words

AFTER = "stitch"


def run(
    model: Model,
    source: Scan,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="File to write: a new .safetensors; of features .csv or .npy."
        ),
    ],
    features: Annotated[
        bool, typer.Option("--features", help="One vector for each scan of the source.")
    ] = False,
) -> None:
    """Write the latents of a scan (posterior means of its tiles) as safetensors, or features."""
    if features:
        vectors = settings.session().features(model, source, out)
        note("Features show the same people as the scans: protect the file.")
        lines = [f"{out}: {plural(vectors.n, 'scan')}, {len(vectors.names)} numbers each."]
        if vectors.refused:
            refused = [(refusal.source, refusal.reason) for refusal in vectors.refused]
            lines += table(("not encoded", "reason"), refused)
        show(vectors, lines)
        return
    result = settings.session().encode(model, source, out)
    note("Latents show the same person as the scan: protect the file.")
    line = f"{out}: {words(result.bytes)}, {result.ratio:.1f} times smaller than the voxels"
    show(result, [f"{line} ({words(result.source_bytes)} on disk)."])
