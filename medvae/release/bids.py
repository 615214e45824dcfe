"""A release as a BIDS data set (Brain Imaging Data Structure, BIDS 1.10).

    dataset_description.json  participants.tsv  participants.json  README.md  CHANGES  LICENSE
    sub-synth0001/anat/sub-synth0001_T1w.nii.gz  + .json, one a channel, each in the folder of its
                                                 modality
    derivatives/labels/dataset_description.json  dseg.tsv
    derivatives/labels/sub-synth0001/anat/sub-synth0001_dseg.nii.gz  + .json

Folder and suffix are those of the modality. Where BIDS does not cover such images (CT, or PET
without a tracer), `.bidsignore` makes validators skip them. The root is of DatasetType "raw", not
"derivative": its images are what a pipeline takes as input, and the derivative type wants
facts (SkullStripped, Sources) that a synthetic image does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvae import modality as modalities
from medvae.cine import is_cine
from medvae.errors import UsageError
from medvae.modality import Modality
from medvae.modality.contrasts import bids_name
from medvae.release.facts import ReleaseFacts
from medvae.release.gate import VoxelGate
from medvae.release.nifti import PUBLIC, SYNTHETIC, as_int16, gzipped, nifti
from medvae.release.tables import VERSION, Participants, json_text
from medvae.volume import Volume

BIDS_VERSION = "1.10.0"
# What a validator should pass over: our own files.
_OURS = (
    "card.json", "CARD.md", "croissant.json", "report.html", "manifest.json", "manifest.sig",
    "signer.pem", "approvals.json", "approval.json", "*.png",
)  # fmt: skip
# BIDS has no name for a moving image of anatomy: validators pass over it.
CINE = "cine"
_PUBLIC_IMAGE = "Image of a public person, resampled to the grid of the synthetic ones"


def _names(facts: ReleaseFacts, kinds: Sequence[Modality]) -> tuple[str, ...]:
    """How the names of a volume's images end, one a channel."""
    channels = facts.data.channels
    if is_cine(channels):
        return (CINE,)
    if not channels:
        return (kinds[0].bids.suffix(facts.suffix),)
    pairs = list(zip(channels, kinds, strict=True))
    names = [
        bids_name(name) if kind.name == "mri" else kind.bids.suffix("") for name, kind in pairs
    ]
    if len({name for name in names if name is not None}) < len(channels):
        raise UsageError(
            f"BIDS has no names of their own for the channels {', '.join(channels)}: ingest with "
            "--channels of t1, t1ce, t2, flair, pd or t2star, or write files by medvae generate"
        )
    return tuple(name for name in names if name is not None)


class BidsWriter:
    """Writes volumes one by one under `root`; `finish` writes the data set's own files.

    Raises:
        UsageError: BIDS has no name for a channel, or one for two of them.
    """

    def __init__(self, root: Path, facts: ReleaseFacts) -> None:
        self._root = root
        self._facts = facts
        self._kinds = [modalities.get(own.modality) for own in facts.data.of_channels]
        self._is_cine = is_cine(facts.data.channels)
        # Of several modalities labels lie in the folder of the first.
        self._folder = self._kinds[0].bids.folder
        self._names = _names(facts, self._kinds)
        self._displays = VoxelGate(facts.data).ranges
        self._participants = Participants(facts, "sub-{}")
        self._masks = 0

    encoding = "application/gzip"

    @property
    def layout(self) -> dict[str, Any]:
        """What the card says of the files."""
        channels = self._facts.data.channels
        if not channels:
            return {"format": "bids"}
        if self._is_cine:
            return {"format": "bids", "frames": len(channels)}
        suffixes = dict(zip(channels, self._names, strict=True))
        return {"format": "bids", "channel_suffixes": suffixes, **self._layout_of_several()}

    def _layout_of_several(self) -> dict[str, Any]:
        """Folders of channels of several modalities; nothing where all lie in one."""
        data = self._facts.data
        if not data.modalities:
            return {}
        channels = data.channels
        folders = {name: kind.bids.folder for name, kind in zip(channels, self._kinds, strict=True)}
        return {"channel_folders": folders} if len(set(folders.values())) > 1 else {}

    @property
    def images(self) -> str:
        """A glob of the images, relative to the release."""
        name = self._names[0] if len(self._names) == 1 else "*"
        folder = "*" if self._layout_of_several() else self._folder
        return f"sub-synth*/{folder}/*_{name}.nii.gz"

    @property
    def labels(self) -> str | None:
        """A glob of the label maps, or None."""
        if not self._masks:
            return None
        return f"derivatives/labels/sub-synth*/{self._folder}/*_dseg.nii.gz"

    def add(self, volume: Volume, *, public: bool = False) -> None:
        """Write one image a channel, their sidecars, and the label map."""
        subject = self._participants.add(volume, public=public)
        note = PUBLIC if public else SYNTHETIC
        channels = volume.voxels if volume.channels else volume.voxels[None]
        if self._is_cine:
            channels = np.moveaxis(channels, 0, -1)[None]
        # One name, and so one file, of a moving image.
        rows = zip(self._names, self._kinds, self._displays, channels, strict=not self._is_cine)
        for name, kind, display, voxels in rows:
            folder = self._root / subject / kind.bids.folder
            folder.mkdir(parents=True, exist_ok=True)
            levels = as_int16(voxels, kind.step)
            data = nifti(levels, volume.affine, step=kind.step, display=display, description=note)
            (folder / f"{subject}_{name}.nii.gz").write_bytes(gzipped(data))
            (folder / f"{subject}_{name}.json").write_bytes(json_text(self._sidecar(kind, public)))
        if volume.mask is not None:
            self._masks += 1
            sources = [
                f"bids:raw:{subject}/{kind.bids.folder}/{subject}_{name}.nii.gz"
                for name, kind in zip(self._names, self._kinds, strict=not self._is_cine)
            ]
            self._add_mask(volume, subject, sources, public)

    def _sidecar(self, kind: Modality, public: bool) -> dict[str, Any]:
        description = _PUBLIC_IMAGE if public else "Synthetic image; no person was scanned"
        sidecar: dict[str, Any] = {
            "Modality": kind.dicom.modality,
            "Description": description,
            "Synthetic": not public,
            "GeneratedBy": [{"Name": "medvae", "Version": VERSION}],
            "SampleIndex": len(self._participants),
            "Units": kind.units.bids,
        }
        if self._is_cine:
            sidecar["NumberOfFrames"] = len(self._facts.data.channels)
        if public and self._facts.public is not None:
            images = self._facts.public
            sidecar |= {"Source": images.source, "License": images.licence}
        if self._facts.body_part:
            sidecar["BodyPart"] = self._facts.body_part.upper()
        return sidecar

    def _add_mask(self, volume: Volume, subject: str, sources: list[str], public: bool) -> None:
        assert volume.mask is not None
        folder = self._root / "derivatives" / "labels" / subject / self._folder
        folder.mkdir(parents=True)
        stem = f"{subject}_dseg"
        display = (0.0, float(max(self._facts.data.label_numbers, default=0)))
        note = PUBLIC if public else SYNTHETIC
        data = nifti(volume.mask, volume.affine, display=display, description=note)
        (folder / f"{stem}.nii.gz").write_bytes(gzipped(data))
        facts = (
            {"Description": "Labels published with the image, resampled to the grid"}
            if public
            else {
                "Description": "Labels generated together with the image; drawn by no person",
                "Manual": False,
            }
        )
        sidecar = {**facts, "Sources": sources}
        (folder / f"{stem}.json").write_bytes(json_text(sidecar))

    def finish(self) -> None:
        """Everything that belongs to the data set as a whole."""
        root = self._root
        (root / "dataset_description.json").write_bytes(json_text(self._description("raw")))
        self._participants.write(root)
        folders = dict.fromkeys(kind.bids.folder for kind in self._kinds if kind.bids.note)
        outside = [f"sub-*/{folder}" for folder in folders]
        if self._is_cine and not outside:
            outside = [f"sub-*/{self._folder}/*_{CINE}.*"]
        (root / ".bidsignore").write_text("\n".join([*_OURS, *outside]) + "\n")
        if self._masks:
            labels = root / "derivatives" / "labels"
            description = self._description("derivative")
            (labels / "dataset_description.json").write_bytes(json_text(description))
            (labels / "dseg.tsv").write_text(self._lookup())
            if outside:
                (labels / ".bidsignore").write_text("\n".join(outside) + "\n")

    def _description(self, kind: str) -> dict[str, Any]:
        facts = self._facts
        derivative = kind == "derivative"
        return {
            "Name": facts.name + (" (labels)" if derivative else ""),
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": kind,
            "License": facts.license,
            "Authors": ["Generated by medvae", "Released by the holder of the key in signer.pem"],
            "Keywords": ["synthetic", "differential privacy", *self._keywords()],
            "DatasetLinks": {"raw": "../.."} if derivative else {},
            "GeneratedBy": [
                {
                    "Name": "medvae",
                    "Version": VERSION,
                    "Description": "Sampled from a generative model; card.json says which.",
                }
            ],
        }

    def _keywords(self) -> list[str]:
        return list(dict.fromkeys(kind.name.upper() for kind in self._kinds))

    def _lookup(self) -> str:
        rows = [f"{number}\t{name}" for number, name in self._facts.labels.items()]
        return "\n".join(["index\tname", "0\tbackground", *rows]) + "\n"
