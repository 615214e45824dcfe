"""A release as DICOM: for each volume a series, and a segmentation of its labels.

SYNTH0001/IM00001.dcm ...          one file a slice, uncompressed, Explicit VR Little Endian
SYNTH0001/t1/IM00001.dcm ...       of a volume with channels, one series a channel; of a moving
                                   image one series, with the number of each frame in time
segmentations/SYNTH0001_SEG.dcm    its label map as DICOM SEG, over the series in space
structures/SYNTH0001_RTSTRUCT.dcm  the same as contours, where they were asked for
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvae import modality as modalities
from medvae.cine import is_cine
from medvae.errors import UsageError
from medvae.release.dicom import Series, Slices, channel_slices, cine_slices, series_slices
from medvae.release.dicom_files import write_slices
from medvae.release.facts import ReleaseFacts
from medvae.release.gate import VoxelGate
from medvae.release.radiographs import radiograph
from medvae.release.tables import Participants
from medvae.volume import Volume

_SEGMENTATIONS = "segmentations"
_STRUCTURES = "structures"
NO_MASKS = (
    "DICOM SEG marks places in space, which a radiograph does not have: write label maps as png "
    "(medvae generate), or in a release of the format folder"
)


class DicomWriter:
    """Writes volumes one by one under `root`; `finish` writes the data set's own files.

    Raises:
        UsageError: public images are to go in, too; or contours, and there are no labels.
    """

    encoding = "application/dicom"

    def __init__(self, root: Path, facts: ReleaseFacts) -> None:
        if facts.public is not None:
            # A study of a person needs his or her identifiers, and an archive would file it so.
            raise UsageError(
                "public images go into releases of the formats bids, nnunet and folder, not into "
                "DICOM, which would need to name each person: leave out --with-public, or choose "
                "another --format"
            )
        if facts.structures and not facts.labels:
            raise UsageError(
                "--structures are contours of labels, and the model has none: leave it out"
            )
        if facts.labels and modalities.get(facts.data.modality).planar:
            raise UsageError(NO_MASKS)
        self._root = root
        self._facts = facts
        self._participants = Participants(facts, upper=True)
        self._masks = 0
        of_channels = facts.data.channels and not is_cine(facts.data.channels)
        self.images = "SYNTH*/*/*.dcm" if of_channels else "SYNTH*/*.dcm"

    @property
    def layout(self) -> dict[str, Any]:
        """What the card says of the files: the numbers of segments for those of the scheme."""
        numbers = {number: place for place, number in enumerate(self._facts.labels, 1)}
        if not self._masks:
            return {"format": "dicom"}
        contours = {"structures": f"{_STRUCTURES}/*_RTSTRUCT.dcm"} if self._facts.structures else {}
        return {"format": "dicom", "segment_numbers": numbers, **contours}

    @property
    def labels(self) -> str | None:
        """A glob of the segmentations, or None."""
        return f"{_SEGMENTATIONS}/*_SEG.dcm" if self._masks else None

    def add(self, volume: Volume, *, public: bool = False) -> None:
        """Write one series, and its segmentation."""
        stem = self._participants.add(volume, public=public)
        limits = VoxelGate(self._facts.data).ranges
        series = Series(stem, self._facts.created, self._facts.body_part, limits[0])
        if modalities.get(volume.modality).planar:
            _write_radiograph(volume, self._root / stem, series)
            return
        path = self._root / _SEGMENTATIONS / f"{stem}_SEG.dcm"
        labels = self._facts.labels
        _, slices = _write(volume, self._root / stem, series, limits, labels, path)
        if self._facts.structures and slices.mask is not None:
            from medvae.release.structures import write_structures

            (self._root / _STRUCTURES).mkdir(exist_ok=True)
            contours = self._root / _STRUCTURES / f"{stem}_RTSTRUCT.dcm"
            write_structures(contours, slices, slices.mask, labels)
        self._masks += volume.mask is not None

    def finish(self) -> None:
        """Everything that belongs to the data set as a whole."""
        self._participants.write(self._root)


def write_dicom(
    volume: Volume, folder: Path, stem: str, labels: Mapping[str, str] | None = None
) -> list[Path]:
    """Write one synthetic volume as the series `folder`/`stem`/IM*.dcm; returns the files.

    A volume with channels becomes one series a channel: `folder`/`stem`/t1/IM*.dcm and so on.

    A mask becomes `folder`/`stem`_SEG.dcm, the last of them. labels: number in the mask (as text)
    -> name; what is in the mask where nothing is declared.

    Raises:
        InputError: the geometry cannot be said in DICOM (a sheared affine).
    """
    # Channels of one modality share a window.
    parts = (
        list(volume.voxels) if volume.modalities else [volume.voxels] * max(1, len(volume.channels))
    )
    limits = [(float(part.min()), float(part.max())) for part in parts]
    series = Series(stem.upper()[:64], "", "", limits[0])
    if modalities.get(volume.modality).planar:
        return _write_radiograph(volume, folder / stem, series)
    path = folder / f"{stem}_SEG.dcm"
    files, _ = _write(volume, folder / stem, series, limits, labels or {}, path)
    return files


def _write_radiograph(volume: Volume, folder: Path, series: Series) -> list[Path]:
    """The one image of a radiograph. Raises UsageError: it has colours, or a label map."""
    from pydicom import dcmwrite

    if volume.mask is not None:
        raise UsageError(NO_MASKS)
    dataset = radiograph(volume, series)
    folder.mkdir(parents=True)
    path = folder / "IM00001.dcm"
    dcmwrite(path, dataset, enforce_file_format=True)
    return [path]


def _write(
    volume: Volume,
    folder: Path,
    series: Series,
    limits: Sequence[tuple[float, float]],
    labels: Mapping[str, str],
    path: Path,
) -> tuple[list[Path], Slices]:
    """One file a slice into the new folder `folder`, and the segmentation into `path`.

    Returns the files, and the slices that the segmentation is of.
    """
    from medvae.release.segmentation import write_segmentation

    if volume.is_cine:
        parts = [(folder, cine_slices(volume, series))]
    elif volume.channels:
        several = channel_slices(volume, series, limits)
        parts = [(folder / name, slices) for name, slices in several.items()]
    else:
        parts = [(folder, series_slices(volume, series))]
    files: list[Path] = []
    for place, slices in parts:
        place.mkdir(parents=True)
        own = [place / f"IM{index:05d}.dcm" for index in range(1, len(slices.own) + 1)]
        write_slices(own, slices)
        files += own
    slices = parts[0][1]
    mask = slices.mask
    if mask is not None:
        names = {str(number): f"label {number}" for number in np.unique(mask[mask > 0])}
        path.parent.mkdir(exist_ok=True)
        write_segmentation(path, slices, mask, labels or names or {"1": "label 1"})
        files.append(path)
    return files, slices
