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


def names_of(text: str) -> list[str]:
    """Names between commas; none for the word none."""
    return [] if text.strip() == "none" else [name.strip() for name in text.split(",")]
