"""What `generate` is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from medvae.errors import UsageError
from medvae.options.flags import PathLike, argument, flag
from medvae.progress import SILENT, Progress

MAX_VOLUMES = 1_000_000
# Formats of volumes, and of pictures. The first is the default.
DRAWN = ("nifti", "dicom"), ("png", "nifti", "dicom")

MODEL = argument("model", "Name of a model.")
NUMBER = flag("Number of volumes.", "-n")
FOLDER = flag("Folder to write to; must be new or empty.", "-o", "--out")
SEED = flag("Seed of the draws; the same seed gives the same voxels.")
CLASS = flag("Draw this class only (0, 1, ...), from a model with classes.", "--class")
SITE = flag("Draw this hospital or scanner only, from a model with sites.", "--site")


def _part(text: str) -> tuple[int, int]:
    try:
        part, parts = text.split("/")
        return int(part), int(parts)
    except ValueError:
        raise ValueError(f"--shard is i/k, such as 1/4, not {text!r}") from None


def _millimetres(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--spacing is one number or three with commas, such as 2 or 1,1,3, not {text!r}"
        ) from None


@dataclass(frozen=True)
class GenerateOptions:
    """`medvae generate`.

    Attributes:
        fmt: "nifti" or "dicom" of volumes, "png" of pictures; None: the first of these.
        category: all of this class.
        site: all of this site.
        spacing: voxel size in mm, one number or three, of a model with an anatomy library.
        shard: (i, k): the i-th of k parts of the n volumes, i from 1; None: all of them.
        from_labels: a file of labels that every volume shows.
    """

    model: str = field(metadata=MODEL)
    n: int = field(metadata=NUMBER)
    out: PathLike = field(metadata=FOLDER)
    _: KW_ONLY
    fmt: str | None = field(
        default=None,
        metadata=flag(
            "Files: nifti (default) or dicom; of pictures png (default) or nifti.", "--format"
        ),
    )
    seed: int | None = field(default=None, metadata=SEED)
    category: int | None = field(default=None, metadata=CLASS)
    site: str | None = field(default=None, metadata=SITE)
    spacing: Sequence[float] | None = field(
        default=None,
        metadata=flag(
            "Voxel size in mm, one number or three with commas, of a model with an anatomy "
            "library; default: the library's.",
            read=_millimetres,
        ),
    )
    shard: tuple[int, int] | None = field(
        default=None,
        metadata=flag(
            "Draw part i of k of the set, as i/k (1/4, ...): the same files as in one run "
            "with this --seed.",
            read=_part,
        ),
    )
    from_labels: PathLike | None = field(
        default=None,
        metadata=flag(
            "Label map (NIfTI, NRRD, MetaImage, MGH) in the model's label scheme: volumes "
            "show these labels, on its grid. As private as that file."
        ),
    )
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        if self.shard is not None:
            part, parts = self.shard
            if not 1 <= part <= parts <= self.n:
                raise UsageError(
                    f"--shard is i/k with i from 1 to k and k at most -n ({self.n}), not "
                    f"{part}/{parts}"
                )
            if self.seed is None:
                raise UsageError(
                    "--shard needs --seed: the parts of one set are drawn from one seed"
                )
        if not 1 <= self.n <= MAX_VOLUMES:
            raise UsageError(f"-n must be between 1 and {MAX_VOLUMES}, not {self.n}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed must be between 0 and 2^63-1, not {self.seed}")

    @property
    def indices(self) -> range:
        """Which of the n volumes are drawn, from 0."""
        part, parts = self.shard or (1, 1)
        return range(part - 1, self.n, parts)
