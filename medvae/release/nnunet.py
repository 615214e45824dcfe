"""A release as a raw data set of nnU-Net v2, which its planner takes as it is.

    dataset.json  labels.tsv  participants.tsv  participants.json  README.md  CHANGES  LICENSE
    imagesTr/synth0001_0000.nii.gz    channel 0 of the first volume, _0001 the next channel
    labelsTr/synth0001.nii.gz         its label map

nnU-Net wants labels without a gap from 0, so the numbers of the declared scheme are replaced by
1, 2, ... in their order; `labels.tsv` and the card say which is which. It normalises by the name
of a channel, and takes Hounsfield units for what they are only where that name is CT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.errors import UsageError
from medvae.release.facts import ReleaseFacts
from medvae.release.gate import VoxelGate
from medvae.release.nifti import PUBLIC, SYNTHETIC, as_int16, gzipped, nifti
from medvae.release.tables import Participants, json_text
from medvae.volume import Volume

ENDING = ".nii.gz"
# Words that nnU-Net gives a meaning of its own among the names of labels.
_RESERVED = frozenset({"background", "ignore"})
_NO_LABELS = "nnU-Net trains on label maps, and this model draws none: use --format bids or dicom"


class NnunetWriter:
    """Writes volumes one by one under `root`; `finish` writes the data set's own files.

    Raises:
        UsageError: the model declares no label, so that nothing can be trained on the release.
    """

    encoding = "application/gzip"
    images = f"imagesTr/synth*{ENDING}"
    labels = f"labelsTr/synth*{ENDING}"

    def __init__(self, root: Path, facts: ReleaseFacts) -> None:
        if not facts.labels:
            raise UsageError(_NO_LABELS)
        self._root = root
        self._facts = facts
        self._kinds = [modalities.get(own.modality) for own in facts.data.of_channels]
        self._displays = VoxelGate(facts.data).ranges
        self._numbers = {int(number): place for place, number in enumerate(facts.labels, 1)}
        self._lookup = _lookup(self._numbers)
        self._participants = Participants(facts)

    @property
    def layout(self) -> dict[str, Any]:
        """What the card says of the files: their numbers for those of the scheme."""
        numbers = {str(number): place for number, place in self._numbers.items()}
        return {"format": "nnunet", "label_numbers_in_files": numbers}

    def add(self, volume: Volume, *, public: bool = False) -> None:
        """Write one case: an image a channel, and the label map.

        Raises:
            UsageError: it has no label map.
        """
        if volume.mask is None:
            raise UsageError(_NO_LABELS)
        name = self._participants.add(volume, public=public)
        note = PUBLIC if public else SYNTHETIC
        channels = volume.voxels if volume.channels else volume.voxels[None]
        rows = zip(channels, self._kinds, self._displays, strict=True)
        for index, (voxels, kind, display) in enumerate(rows):
            levels = as_int16(voxels, kind.step)
            data = nifti(levels, volume.affine, step=kind.step, display=display, description=note)
            self._write(f"imagesTr/{name}_{index:04d}", data)
        mask, display = self._lookup[volume.mask], (0.0, float(len(self._numbers)))
        data = nifti(mask, volume.affine, display=display, description=note)
        self._write(f"labelsTr/{name}", data)

    def _write(self, stem: str, data: bytes) -> None:
        path = self._root / f"{stem}{ENDING}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzipped(data))

    def finish(self) -> None:
        """Everything that belongs to the data set as a whole."""
        facts, names = self._facts, _distinct(self._facts.labels)
        description = {
            "name": facts.name,
            "description": f"{_description(facts)} CARD.md says what it is good for.",
            "licence": facts.license,
            "channel_names": {str(i): name for i, name in enumerate(self._channels())},
            "labels": {"background": 0, **{name: place for place, name in enumerate(names, 1)}},
            "numTraining": len(self._participants),
            "file_ending": ENDING,
        }
        (self._root / "dataset.json").write_bytes(json_text(description))
        rows = zip(self._numbers.items(), names, strict=True)
        table = "".join(f"{place}\t{number}\t{name}\n" for (number, place), name in rows)
        text = "number\tscheme_number\tname\n0\t0\tbackground\n" + table
        (self._root / "labels.tsv").write_text(text, encoding="utf-8")
        self._participants.write(self._root)

    def _channels(self) -> tuple[str, ...]:
        kind, channels = self._kinds[0], self._facts.data.channels
        if self._facts.data.modalities:
            # The planner knows CT by that name alone, whatever the cohort called it.
            own = [
                k.title if k.name == "ct" else c for c, k in zip(channels, self._kinds, strict=True)
            ]
            return tuple(own) if len(set(own)) == len(own) else channels
        if channels:
            return channels
        suffix = kind.bids.suffix(self._facts.suffix)
        return (suffix if kind.name == "mri" else suffix.upper(),)


def _description(facts: ReleaseFacts) -> str:
    if facts.public is None:
        return "Synthetic; no person was scanned."
    return f"Synthetic, with {facts.public.count} public images ({facts.public.source})."


def _lookup(numbers: dict[int, int]) -> npt.NDArray[np.uint8]:
    """[256] number in the file by number of the scheme; the gate has seen that no other occurs."""
    lookup = np.zeros(256, np.uint8)
    for number, place in numbers.items():
        lookup[number] = place
    return lookup


def _distinct(labels: dict[str, str]) -> list[str]:
    """The labels' names; with its number where two share one, or nnU-Net keeps it for itself."""
    names = list(labels.values())
    distinct = [
        f"{name} ({number})" if name.lower() in _RESERVED or names.count(name) > 1 else name
        for number, name in labels.items()
    ]
    return (
        distinct
        if len(set(distinct)) == len(distinct)
        else [f"label {number}" for number in labels]
    )
