"""A release as a BIDS data set (Brain Imaging Data Structure, BIDS 1.10).

    dataset_description.json  participants.tsv  participants.json  README.md  CHANGES  LICENSE
    sub-synth0001/anat/sub-synth0001_T1w.nii.gz  + .json
    derivatives/labels/dataset_description.json  dseg.tsv
    derivatives/labels/sub-synth0001/anat/sub-synth0001_dseg.nii.gz  + .json

BIDS has no CT yet. CT images go to `sub-*/ct/sub-*_ct.nii.gz`, as its extension proposal
BEP024 has it, and `.bidsignore` tells validators so. The root is of DatasetType "raw", not
"derivative": its images are what a pipeline takes as input, and the derivative type wants
facts (SkullStripped, Sources) that a synthetic image does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from medvae.errors import UsageError
from medvae.release.facts import ReleaseFacts
from medvae.release.gate import VoxelGate
from medvae.release.nifti import SYNTHETIC, as_int16, gzipped, nifti
from medvae.release.tables import VERSION, json_text, write_tables
from medvae.volume import Volume

BIDS_VERSION = "1.10.0"
_MR_SUFFIXES = frozenset({"T1w", "T2w", "FLAIR", "PDw", "PDT2", "T2starw", "inplaneT1"})
# What a validator should pass over: our own files, and CT until BIDS has it.
_OURS = (
    "card.json", "CARD.md", "croissant.json", "report.html", "manifest.json", "manifest.sig",
    "signer.pem", "*.png",
)  # fmt: skip


def label(index: int) -> str:
    """The subject label of the index-th volume, counted from 1."""
    return f"synth{index:04d}"


class BidsWriter:
    """Writes volumes one by one under `root`; `finish` writes the data set's own files."""

    def __init__(self, root: Path, facts: ReleaseFacts) -> None:
        if facts.data.modality == "mri" and facts.suffix not in _MR_SUFFIXES:
            raise UsageError(
                f"suffix {facts.suffix!r} is not a BIDS suffix of anatomical MRI; "
                f"use one of {', '.join(sorted(_MR_SUFFIXES))}"
            )
        self._root = root
        self._facts = facts
        ct = facts.data.modality == "ct"
        self._folder, self._suffix = ("ct", "ct") if ct else ("anat", facts.suffix)
        self._display = VoxelGate(facts.data).range
        self._count = 0
        self._masks = 0
        self._classes: list[int | None] = []

    encoding = "application/gzip"

    @property
    def images(self) -> str:
        """A glob of the images, relative to the release."""
        return f"sub-*/{self._folder}/*_{self._suffix}.nii.gz"

    @property
    def labels(self) -> str | None:
        """A glob of the label maps, or None."""
        return f"derivatives/labels/sub-*/{self._folder}/*_dseg.nii.gz" if self._masks else None

    def add(self, volume: Volume) -> None:
        """Write one image, its sidecar and its label map."""
        self._count += 1
        self._classes.append(volume.category)
        subject = f"sub-{label(self._count)}"
        folder = self._root / subject / self._folder
        stem = f"{subject}_{self._suffix}"
        folder.mkdir(parents=True)
        self._image(folder / f"{stem}.nii.gz", as_int16(volume.voxels), volume, self._display)
        (folder / f"{stem}.json").write_bytes(json_text(self._sidecar()))
        if volume.mask is not None:
            self._masks += 1
            self._add_mask(volume, subject, f"{subject}/{self._folder}/{stem}.nii.gz")

    @staticmethod
    def _image(
        path: Path, voxels: npt.NDArray[Any], volume: Volume, display: tuple[float, float]
    ) -> None:
        data = nifti(voxels, volume.affine, display=display, description=SYNTHETIC)
        path.write_bytes(gzipped(data))

    def _sidecar(self) -> dict[str, Any]:
        ct = self._facts.data.modality == "ct"
        sidecar: dict[str, Any] = {
            "Modality": "CT" if ct else "MR",
            "Description": "Synthetic image; no person was scanned",
            "Synthetic": True,
            "GeneratedBy": [{"Name": "medvae", "Version": VERSION}],
            "SampleIndex": self._count,
            "Units": "HU" if ct else "arbitrary",
        }
        if self._facts.body_part:
            sidecar["BodyPart"] = self._facts.body_part.upper()
        return sidecar

    def _add_mask(self, volume: Volume, subject: str, source: str) -> None:
        assert volume.mask is not None
        folder = self._root / "derivatives" / "labels" / subject / self._folder
        folder.mkdir(parents=True)
        stem = f"{subject}_dseg"
        display = (0.0, float(max(self._facts.data.label_numbers, default=0)))
        self._image(folder / f"{stem}.nii.gz", volume.mask, volume, display)
        sidecar = {
            "Description": "Labels generated together with the image; drawn by no person",
            "Manual": False,
            "Sources": [f"bids:raw:{source}"],
        }
        (folder / f"{stem}.json").write_bytes(json_text(sidecar))

    def finish(self) -> None:
        """Everything that belongs to the data set as a whole."""
        root, facts = self._root, self._facts
        (root / "dataset_description.json").write_bytes(json_text(self._description("raw")))
        names = [f"sub-{label(i)}" for i in range(1, self._count + 1)]
        write_tables(root, facts, names, self._classes)
        ct = ["sub-*/ct"] if facts.data.modality == "ct" else []
        (root / ".bidsignore").write_text("\n".join([*_OURS, *ct]) + "\n")
        if self._masks:
            labels = root / "derivatives" / "labels"
            description = self._description("derivative")
            (labels / "dataset_description.json").write_bytes(json_text(description))
            (labels / "dseg.tsv").write_text(self._lookup())
            if ct:
                (labels / ".bidsignore").write_text("\n".join(ct) + "\n")

    def _description(self, kind: str) -> dict[str, Any]:
        facts = self._facts
        derivative = kind == "derivative"
        return {
            "Name": facts.name + (" (labels)" if derivative else ""),
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": kind,
            "License": facts.license,
            "Authors": ["Generated by medvae", "Released by the holder of the key in signer.pem"],
            "Keywords": ["synthetic", "differential privacy", facts.data.modality.upper()],
            "DatasetLinks": {"raw": "../.."} if derivative else {},
            "GeneratedBy": [
                {
                    "Name": "medvae",
                    "Version": VERSION,
                    "Description": "Sampled from a generative model; card.json says which.",
                }
            ],
        }

    def _lookup(self) -> str:
        rows = [f"{number}\t{name}" for number, name in self._facts.labels.items()]
        return "\n".join(["index\tname", "0\tbackground", *rows]) + "\n"
