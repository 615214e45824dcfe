"""Arguments that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="Name of a model.")]
Scan = Annotated[Path, typer.Option("-i", "--input", help="One scan.")]
NewNifti = Annotated[Path, typer.Option("-o", "--out", help="A new .nii or .nii.gz file.")]
NewFolder = Annotated[Path, typer.Option("-o", "--out", help="A new folder.")]
