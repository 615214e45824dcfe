"""What `stitch` is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from medvae.options.flags import PathLike, argument, flag
from medvae.progress import SILENT, Progress


@dataclass(frozen=True)
class StitchOptions:
    """`medvae stitch`.

    Attributes:
        sources: two to 32 files or folders, each of one scan, in any format that `ingest` reads.
        out: a new .nii or .nii.gz file, or .png of pictures.
        labels: a label map a part, in the same order; the output's is written beside it.
        modality: needed for pictures, and for volumes whose numbers do not show it.
        transform: what registration may do: "translation", "rigid" or "affine".
        match: whether gain and offset are matched in the overlap; None: unless grey values have
            an absolute scale, as those of CT have.
    """

    sources: Sequence[PathLike] = field(
        metadata=argument("parts", "Two or more overlapping volumes or pictures.")
    )
    out: PathLike = field(
        metadata=flag("File to write: a new .nii.gz, .nii or .png.", "-o", "--out")
    )
    _: KW_ONLY
    labels: Sequence[PathLike] = field(
        default=(),
        metadata=flag("Label map of a part; give the option once a part, in their order."),
    )
    modality: str | None = field(
        default=None,
        metadata=flag("What the parts are; needed for pictures (xray, photo)."),
    )
    transform: str = field(
        default="rigid",
        metadata=flag("What registration may do: translation, rigid or affine."),
    )
    match: bool | None = field(
        default=None,
        metadata=flag(
            "Match gain and offset in the overlap; by default where grey values have no "
            "absolute scale (MRI, pictures).",
            "--match-intensity/--keep-intensity",
        ),
    )
    progress: Progress = SILENT
