"""`stitch`: files of overlapping parts in, one file out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvae import space
from medvae.api import one_scan
from medvae.api.files import REAL, bytes_of, new_file
from medvae.api.results import PartPlacement, StitchResult
from medvae.errors import InputError, UsageError
from medvae.options.flags import called_with
from medvae.options.stitch import StitchOptions

if TYPE_CHECKING:
    from medvae.stitching import Freedom, Part, Placement
    from medvae.volume import Volume

_VOLUMES = (".nii.gz", ".nii")
_PICTURE = ".png"


@called_with(StitchOptions)
def stitch(options: StitchOptions) -> StitchResult:
    """Join overlapping volumes or pictures; needs no vault.

    Args:
        sources: two to 32 files or folders, each of one scan, in any format that `ingest` reads.
        out: a new .nii or .nii.gz file, or .png of pictures.
        labels: a label map a part, in the same order; the output's is written beside it.
        modality: needed for pictures, and for volumes whose numbers do not show it.
        transform: what registration may do: "translation", "rigid" or "affine".
        match: whether gain and offset are matched in the overlap; None: unless grey values have
            an absolute scale, as those of CT have.

    Raises:
        UsageError: fewer than two parts, or an argument that cannot be right.
        InputError: a part cannot be read, is of another modality, or does not overlap the others
            by more than chance.
    """
    from medvae.stitching import Options, join

    freedom, file = _freedom(options), Path(options.out)
    suffix = _suffix(file)
    new_file(file)
    beside = file.with_name(f"{file.name.removesuffix(suffix)}_dseg{suffix}")
    if options.labels:
        new_file(beside)
    parts = _parts(options)
    first = parts[0].volume
    if (first.shape[2] == 1) != (suffix == _PICTURE):
        raise UsageError(f"{file} does not fit: volumes are written as .nii.gz, pictures as .png")
    joined = join(parts, Options(freedom, options.match), options.progress)
    with space.writing(file, bytes_of(joined.volume)):
        _write(joined.volume, file, suffix)
    placed = zip(parts, joined.placements, strict=True)
    return StitchResult(
        file,
        beside if options.labels else None,
        joined.volume.shape,
        tuple(_placement(part, first, placement) for part, placement in placed),
    )


def _freedom(options: StitchOptions) -> Freedom:
    """What registration may do; the options fit one another. Raises UsageError."""
    from medvae.stitching import FREEDOMS

    if not options.sources:
        raise UsageError("stitch joins at least two parts, and none was given")
    freedom = next((name for name in FREEDOMS if name == options.transform), None)
    if freedom is None:
        raise UsageError(
            f"--transform must be one of {', '.join(FREEDOMS)}, not {options.transform!r}"
        )
    if options.labels and len(options.labels) != len(options.sources):
        raise UsageError(
            f"--labels names {len(options.labels)} files for {len(options.sources)} parts: "
            "give one each"
        )
    return freedom


def _parts(options: StitchOptions) -> list[Part]:
    """The parts, each with its label map where there are some. Raises InputError."""
    from medvae.stitching import Part

    paths = [Path(source) for source in options.sources]
    parts = [Part(str(path), one_scan.read(path, options.modality)) for path in paths]
    for number, path in enumerate(options.labels):
        volume = parts[number].volume
        volume = replace(volume, mask=_mask(Path(path), volume))
        parts[number] = Part(parts[number].name, volume)
    return parts


def _suffix(out: Path) -> str:
    for suffix in (*_VOLUMES, _PICTURE):
        if out.name.endswith(suffix) and out.name != suffix:
            return suffix
    raise UsageError(f"{out} must end in .nii.gz or .nii (volumes) or .png (pictures)")


def _mask(path: Path, volume: Volume) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from medvae.api.anatomy_files import Reader

    with Reader() as reader:
        maps = reader.label_map(path)
    off = np.abs(maps.affine - volume.affine).max() > 0.1 * min(volume.spacing)
    if maps.labels.shape != volume.shape or off:
        raise InputError(f"{path} does not lie on the grid of its part")
    if maps.labels.max() > np.iinfo(np.uint8).max:
        raise InputError(f"{path} has labels above 255")
    return maps.labels.astype(np.uint8)


def _write(volume: Volume, out: Path, suffix: str) -> None:
    from medvae.release import write_nifti
    from medvae.release.png import write_png

    stem = out.name.removesuffix(suffix)
    if suffix == _PICTURE:
        write_png(volume, out.parent, stem, deep=True)
    else:
        write_nifti(volume, out.parent, stem, suffix=suffix, description=REAL)


def _placement(part: Part, first: Volume, placement: Placement) -> PartPlacement:
    from medvae.stitching import resampled

    return PartPlacement(
        part.name,
        tuple(tuple(round(float(value), 6) for value in row) for row in placement.matrix),
        placement.start,
        round(placement.gain, 6),
        round(placement.offset, 6),
        round(placement.correlation, 4),
        round(placement.significance, 2),
        round(placement.overlap, 4),
        resampled(part.volume, first, placement.matrix),
    )
