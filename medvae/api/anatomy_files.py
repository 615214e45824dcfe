"""Files of public people: which is an image, which its labels, and their voxels.

A public file is untrusted like any other, so it is parsed in the same sandbox as
patients' scans.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from medvae.anatomy.collection import FileDigest, PersonMaps
from medvae.errors import InputError
from medvae.ingest import bids, names
from medvae.ingest.layout_words import PAIRS
from medvae.ingest.records import DEFAULT_LIMITS, Quarantined, WorkerDiedError
from medvae.ingest.sandbox import Sandbox
from medvae.ingest.trees import File, Folder, SingleFile
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.anatomy.collection.entries import EntryKind

# Part of a voxel by which labels may lie beside their image.
SHIFT = 0.1


@dataclass(frozen=True)
class PersonFiles:
    """The files of one person: a label map, and the image it was drawn on where there is one."""

    id: str
    labels: File
    image: File | None = None


def find(folder: Path) -> tuple[EntryKind, list[PersonFiles]]:
    """The people of a folder, by name.

    Layouts: images/ beside labels/ with equal names (imagesTr/ and labelsTr/ too); NAME_dseg.nii
    beside NAME.nii, or as BIDS has it; else every volume file is a label map.

    Raises:
        InputError: there is no volume file, something cannot be opened, or an image lacks labels.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name the folder of the public files")
    tree = Folder(folder, DEFAULT_LIMITS)
    files: list[File] = []
    for file in tree.walk():
        if isinstance(file, Quarantined):
            raise InputError(f"{file.source}: {file.reason}")
        if file.name.lower().endswith(names.SINGLE):
            files.append(file)
    if not files:
        raise InputError(f"{folder} holds no volume file (.nii.gz, .nrrd, .mha, .mgz)")
    for images, labels in PAIRS:
        if tree.has_folder(images) and tree.has_folder(labels):
            return "images", list(_paired(files, images, labels))
    return _beside(files)


def _paired(files: Sequence[File], images: str, labels: str) -> Iterator[PersonFiles]:
    named = {
        kind: {_key(f.name, kind): f for f in files if PurePosixPath(f.name).parts[0] == kind}
        for kind in (images, labels)
    }
    for kind, other in ((images, labels), (labels, images)):
        for key, file in named[kind].items():
            if key not in named[other]:
                raise InputError(f"{file.source} has no file of that name in {other}/")
    for key, file in sorted(named[images].items()):
        yield PersonFiles(key, named[labels][key], file)


def _key(name: str, folder: str) -> str:
    """The name inside the folder, without the ending and nnU-Net's number of a channel."""
    return names.stem(name.removeprefix(f"{folder}/")).removesuffix("_0000")


def _beside(files: Sequence[File]) -> tuple[EntryKind, list[PersonFiles]]:
    maps = [file for file in files if bids.is_segmentation(file.name)]
    if not maps:
        return "labels", [PersonFiles(names.stem(file.name), file) for file in files]
    scans = [file for file in files if not bids.is_segmentation(file.name)]
    plain = {names.stem(file.name): file for file in scans}
    people = []
    for file in maps:
        stem = names.stem(file.name).rpartition("_")[0]
        scan = plain.get(stem) or next(
            (candidate for candidate in scans if _is_bids_pair(candidate, file)), None
        )
        people.append(PersonFiles(stem, file, scan))
    if not scans:
        return "labels", people
    used = {person.image.name for person in people if person.image}
    lone = [f.source for f in scans if f.name not in used]
    lone += [person.labels.source for person in people if person.image is None]
    if lone:
        raise InputError(f"{lone[0]} has no partner: expected every image beside its _dseg file")
    return "images", people


def _is_bids_pair(scan: File, labels: File) -> bool:
    """Whether both name a subject and have the same BIDS entities."""
    if bids.subject_of(scan.name) is None:
        return False
    return bids.segmentations_for(scan.name, [labels]) == [labels]


class Reader:
    """Reads people in a confined process; use as a context manager."""

    def __init__(self) -> None:
        self._sandbox = Sandbox(("nifti",), DEFAULT_LIMITS)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.stop()

    def read(self, person: PersonFiles) -> tuple[PersonMaps, tuple[FileDigest, ...]]:
        """The maps of a person, axes closest to RAS+, and the digests of the files.

        Raises:
            InputError: a file cannot be read, the labels are not whole numbers from 0 to 32767 or
                all 0, or image and labels do not lie on one grid.
        """
        labels = self._volume(person.labels, labels=True)
        if labels.voxels.dtype != np.int16 or labels.voxels.min() < 0:
            raise InputError(
                f"{person.labels.source}: its labels are not whole numbers from 0 to 32767"
            )
        if not labels.voxels.any():
            raise InputError(f"{person.labels.source}: it shows no label")
        digests = [_digest(person.labels)]
        if person.image is None:
            return PersonMaps(labels.voxels, labels.affine), tuple(digests)
        image = self._volume(person.image)
        tolerance = SHIFT * min(labels.spacing)
        corner = np.array([*(np.array(labels.shape) - 1.0), 1.0])
        apart = np.abs((image.affine - labels.affine) @ corner).max()
        origin = np.abs((image.affine - labels.affine)[:3, 3]).max()
        if image.shape != labels.shape or max(apart, origin) > tolerance:
            raise InputError(
                f"{person.image.source} and {person.labels.source} do not lie on one grid"
            )
        digests.append(_digest(person.image))
        return PersonMaps(labels.voxels, labels.affine, image.voxels), tuple(digests)

    def label_map(self, path: Path) -> PersonMaps:
        """The labels of one file, axes closest to RAS+. Raises as `read`."""
        maps, _ = self.read(PersonFiles(path.name, SingleFile(path, DEFAULT_LIMITS).file))
        return maps

    def _volume(self, file: File, *, labels: bool = False) -> Volume:
        try:
            # A file that was named itself has no name in a folder.
            name = PurePosixPath(file.name or file.tree.label).name
            job = {"image": [name], "labels": labels, "meta": {}}
            _, data = self._sandbox.run("nifti", [file], modality="mri", mask_optional=False, **job)
        except (InputError, WorkerDiedError) as error:
            raise InputError(f"{file.source}: {error}") from error
        return Volume.from_bytes(data)


def _digest(file: File) -> FileDigest:
    """Size and SHA-256 of a source file, by its name in the folder."""
    digest = hashlib.sha256()
    with os.fdopen(file.open(), "rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
        return FileDigest(file.name, stream.tell(), digest.hexdigest())
