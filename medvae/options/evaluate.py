"""What `evaluate` is asked for."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from medvae.options.flags import argument, flag
from medvae.progress import SILENT, Progress


@dataclass(frozen=True)
class EvaluateOptions:
    """`medvae evaluate`.

    Attributes:
        what: a model, or a folder of volumes.
        n: volumes that are drawn, of a model.
        downstream: train a segmentation or a classifier, too (minutes).
        baselines: the same figures of the public people that a model draws, without any patient.
    """

    what: str = field(
        metadata=argument("what", "Name of a model, or a folder of synthetic volumes.")
    )
    against: str = field(metadata=flag("Data set of real volumes."))
    _: KW_ONLY
    n: int = field(
        default=32, metadata=flag("Number of synthetic volumes to draw from a model.", "-n")
    )
    downstream: bool = field(
        default=True,
        metadata=flag("Train a segmentation on them too, where there are masks (minutes)."),
    )
    baselines: bool = field(
        default=True,
        metadata=flag(
            "The same figures of the public people that the model draws, without any patient."
        ),
    )
    progress: Progress = SILENT
