"""Pictures as PNG files of 8 bits, and a release that is a folder of them.

images/synth0001.png ...  participants.tsv  participants.json  README.md  CHANGES  LICENSE
labels/synth0001.png ...  of a model with labels: their numbers as grey values
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.errors import UsageError
from medvae.release.facts import ReleaseFacts
from medvae.release.survey import slice_of
from medvae.release.tables import Participants
from medvae.volume import Volume

IMAGES = "images"
LABELS = "labels"
# How the name of a label map beside its picture ends; `ingest` pairs it by that.
MASK = "_mask"
# A grey value of 16 bits is so many of 8 bits.
WIDE = 257


def pixels(volume: Volume, *, deep: bool = False) -> npt.NDArray[np.uint8 | np.uint16]:
    """[rows, columns] of a picture, or [rows, columns, 3] of one in colour; rows run down.

    deep: grey values that are fractions have 16 bits; otherwise all have 8.

    Raises:
        UsageError: it is no picture, or its channels are no colours.
    """
    modality = modalities.get(volume.modality)
    if not modality.planar or volume.shape[2] != 1:
        raise UsageError(
            f"png is for pictures, and these are {modality.title} volumes; use nifti or dicom"
        )
    if len(volume.channels) not in (0, 3):
        raise UsageError(f"png has no channels {', '.join(volume.channels)}")
    wide = deep and not volume.channels and volume.voxels.dtype.kind == "f"
    levels, kind = (volume.voxels * WIDE, np.uint16) if wide else (volume.voxels, np.uint8)
    values = np.clip(np.rint(levels), 0, np.iinfo(kind).max).astype(kind)
    channels = values if volume.channels else values[None]
    rows = np.stack([slice_of(channel, 2, 0) for channel in channels], axis=-1)
    return np.ascontiguousarray(rows if volume.channels else rows[..., 0])


def png(volume: Volume, *, deep: bool = False) -> bytes:
    """The file's bytes: no date, no name, no text; equal pictures give equal bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels(volume, deep=deep)).save(out, format="PNG")
    return out.getvalue()


def write_png(volume: Volume, folder: Path, stem: str, *, deep: bool = False) -> list[Path]:
    """Write one picture, and its label map beside it; returns the paths.

    `deep` and UsageError as `pixels`.
    """
    path = folder / f"{stem}.png"
    path.write_bytes(png(volume, deep=deep))
    if volume.mask is None:
        return [path]
    beside = folder / f"{stem}{MASK}.png"
    beside.write_bytes(mask_png(volume.mask))
    return [path, beside]


def mask_png(mask: npt.NDArray[np.integer]) -> bytes:
    """The file of a picture's label map [X, Y, 1]: a label's number is its grey value.

    Of 8 bits, or of 16 where a number needs them.
    """
    from PIL import Image

    kind = np.uint8 if mask.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16
    rows = np.ascontiguousarray(slice_of(mask, 2, 0).astype(kind))
    out = io.BytesIO()
    Image.fromarray(rows).save(out, format="PNG")
    return out.getvalue()


class FolderWriter:
    """Writes pictures one by one under `root`; `finish` writes the data set's own files."""

    encoding = "image/png"
    images = f"{IMAGES}/synth*.png"

    @property
    def layout(self) -> dict[str, Any]:
        """What the card says of the files."""
        return {"format": "folder"}

    def __init__(self, root: Path, facts: ReleaseFacts) -> None:
        self._root = root
        self._participants = Participants(facts)
        self.labels = f"{LABELS}/synth*.png" if facts.labels else None

    def add(self, volume: Volume, *, public: bool = False) -> None:
        """Write one picture, and its label map in a folder of its own."""
        name = self._participants.add(volume, public=public)
        files = {IMAGES: png(volume)}
        if volume.mask is not None:
            files[LABELS] = mask_png(volume.mask)
        for folder, data in files.items():
            (self._root / folder).mkdir(exist_ok=True)
            (self._root / folder / f"{name}.png").write_bytes(data)

    def finish(self) -> None:
        """Everything that belongs to the data set as a whole."""
        self._participants.write(self._root)
