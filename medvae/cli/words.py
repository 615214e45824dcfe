"""Arguments that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="Name of a model.")]
Scan = Annotated[Path, typer.Option("-i", "--input", help="File or folder of one scan.")]
NewNifti = Annotated[
    Path, typer.Option("-o", "--out", help="File to write: a new .nii or .nii.gz.")
]
NewPicture = Annotated[Path, typer.Option("-o", "--out", help="File to write: a new .png.")]
NewFolder = Annotated[
    Path, typer.Option("-o", "--out", help="Folder to write to; must be new or empty.")
]
Volumes = Annotated[
    int, typer.Option("-n", help="Number of synthetic volumes to draw from a model.")
]
