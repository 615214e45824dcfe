"""Result of `stitch`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medvae.api.results.base import Result


@dataclass(frozen=True)
class PartPlacement(Result):
    """Where one part went.

    Attributes:
        source: the part's file as it was named.
        matrix: [4][4] the part's millimetres, as its header has them, to those of the output.
        start: what the registration began from: "first" (the part that the others are placed by),
            "header" or "search".
        gain, offset: a value v of the part became gain * v + offset.
        correlation: of fine structure with the parts before it, in the overlap.
        significance: that in standard deviations of what chance gives.
        overlap: fraction of the part's voxels that the parts before it show as well.
        resampled: why its voxels were interpolated: another voxel size or direction than the
            first part's; none where it was moved alone.
    """

    source: str
    matrix: tuple[tuple[float, ...], ...]
    start: str
    gain: float
    offset: float
    correlation: float
    significance: float
    overlap: float
    resampled: tuple[str, ...] = ()


@dataclass(frozen=True)
class StitchResult(Result):
    """A volume or picture that was joined from parts.

    Attributes:
        output: the file written; labels: its labels, or None.
        shape: voxels along the axes.
        transforms: one a part, in the order given.
    """

    output: Path
    labels: Path | None
    shape: tuple[int, int, int]
    transforms: tuple[PartPlacement, ...]
