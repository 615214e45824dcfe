"""What `release create` is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from medvae.options.flags import PathLike, flag
from medvae.options.generate import CLASS, FOLDER, MODEL, NUMBER, SEED, SITE
from medvae.progress import SILENT, Progress

# Formats of volumes, and of pictures. The first is the default.
RELEASED = ("bids", "dicom", "nnunet"), ("folder", "dicom")


@dataclass(frozen=True)
class ReleaseOptions:
    """`medvae release create`; the words are printed on the card."""

    model: str = field(metadata=MODEL)
    n: int = field(metadata=NUMBER)
    out: PathLike = field(metadata=FOLDER)
    _: KW_ONLY
    fmt: str | None = field(
        default=None,
        metadata=flag(
            "Layout: bids (NIfTI, default), dicom or nnunet; of pictures folder (PNG).", "--format"
        ),
    )
    seed: int | None = field(default=None, metadata=SEED)
    category: int | None = field(default=None, metadata=CLASS)
    site: str | None = field(default=None, metadata=SITE)
    title: str = field(default="", metadata=flag("Name of the data set on its card."))
    body_part: str = field(default="", metadata=flag("Body part in words, such as hippocampus."))
    suffix: str = field(default="T1w", metadata=flag("BIDS suffix of MR images."))
    label_names: Sequence[str] = field(
        default=(), metadata=flag("Name of mask label 1, 2, ...; repeatable.", "--label")
    )
    licence: str = field(
        default="", metadata=flag("Licence of the data set, as SPDX.", "--license")
    )
    recipient: str = field(
        default="",
        metadata=flag("For whom it is, in words: kept in the vault, not in the release."),
    )
    with_public: bool = field(
        default=False,
        metadata=flag(
            "Also the labelled public images of the model's anatomy entry, marked as such.",
            "--with-public",
        ),
    )
    reference: str | None = field(
        default=None,
        metadata=flag(
            "Anatomy entry that the quality score is measured against, or none; by default "
            "the model's own, else one that covers the labels."
        ),
    )
    structures: bool = field(
        default=False,
        metadata=flag(
            "Also the labels as contours (DICOM RTSTRUCT), for radiotherapy; in DICOM.",
            "--structures",
        ),
    )
    progress: Progress = SILENT
