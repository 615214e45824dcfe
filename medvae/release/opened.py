"""A release as its recipient reads it: verified first, and again at every file that is read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medvae.errors import IntegrityError, UsageError
from medvae.progress import SILENT, Progress
from medvae.release import manifest as mf
from medvae.release.check import VerifyResult, check_files, read_key, shown
from medvae.release.manifest import Entry

if TYPE_CHECKING:
    import nibabel as nib

_IMAGE = re.compile(r"(?P<folder>sub-(?P<subject>[A-Za-z0-9]+)/[a-z]+)/[A-Za-z0-9_-]+\.nii\.gz")
_CASES = "imagesTr/"
_CASE = re.compile(r"imagesTr/(?P<subject>[A-Za-z0-9]+)_0000\.nii\.gz")
# 2 GiB of one unpacked volume: more than any grid that a model can have.
_MOST_BYTES = 2 << 30


@dataclass(frozen=True)
class Sample:
    """One synthetic volume of a release; paths are relative to its folder.

    Attributes:
        subject: its number, as `participants.tsv` has it without `sub-`.
        synthetic: False of the image of a public person.
        image: path of the NIfTI image, of the first channel where there are several.
        channels: paths of its images, in the order of the channels; none of a single one.
        label_map: path of the NIfTI label map; None where the release has none.
        class_id: 0, 1, ...; None where the model has no classes.
        site: whose grey values it has; None where the model has no sites.
    """

    subject: str
    image: str
    label_map: str | None
    class_id: int | None
    synthetic: bool = True
    channels: tuple[str, ...] = ()
    site: str | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """Paths of all its images, one a channel."""
        return self.channels or (self.image,)


class OpenRelease:
    """The files of a release that was verified.

    Formal guarantee: `read` gives bytes only if their SHA-256 is the one that was signed, also
    where the folder was changed after it had been verified.
    """

    def __init__(self, root: Path, result: VerifyResult, files: Mapping[str, Entry]) -> None:
        self.root = root
        self.result = result
        self._files = files
        self.card: dict[str, Any] = json.loads(self.read("card.json"))
        self.samples = self._samples()

    def read(self, path: str) -> bytes:
        """The bytes of a listed file.

        Raises:
            IntegrityError: the signature covers no such file, or it is not as it was signed.
        """
        entry = self._files.get(path)
        if entry is None:
            raise IntegrityError(f"the release {self.root} lists no file {shown(path)}")
        try:
            handle = mf.open_regular(self.root / path)
            with os.fdopen(handle, "rb") as file:
                data = file.read(entry.size + 1)
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{shown(path)} of the release cannot be read: {error}") from error
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise IntegrityError(
                f"{shown(path)} of the release {self.root} was changed after it had been "
                "verified; verify it again"
            )
        return data

    def nifti(self, path: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Voxels and the affine [4, 4] to RAS in millimetres.

        Voxels are [X, Y, Z], of a moving image [X, Y, Z, T], in the modality's units.

        Raises:
            IntegrityError: as `read`, or the file is no NIfTI image of at most 2 GiB.
        """
        import nibabel as nib
        from nibabel.filebasedimages import ImageFileError

        try:
            image: nib.Nifti1Image = nib.Nifti1Image.from_bytes(_unpacked(self.read(path)))
            voxels = np.asarray(image.dataobj, np.float32)
        except (ImageFileError, ValueError, zlib.error, OSError) as error:
            raise IntegrityError(f"{shown(path)} of the release is no NIfTI image") from error
        return voxels, np.asarray(image.affine, np.float64)

    def _samples(self) -> tuple[Sample, ...]:
        rows, data = self._rows(), self.card.get("data", {})
        suffixes, folders = data.get("channel_suffixes", {}), data.get("channel_folders", {})
        samples = []
        for path in sorted(self._files):
            named = _named(path)
            if named is None:
                continue
            subject, mask = named
            channels: tuple[str, ...] = ()
            if path.startswith(_CASES):
                stem = path.removesuffix("0000.nii.gz")
                numbered = tuple(sorted(file for file in self._files if file.startswith(stem)))
                channels = numbered if len(numbered) > 1 else ()
            elif isinstance(suffixes, dict) and suffixes:
                own = PurePosixPath(path).parent
                channels = tuple(
                    f"{own.parent / folders.get(name, own.name)}/sub-{subject}_{suffix}.nii.gz"
                    for name, suffix in suffixes.items()
                )
                if path != channels[0]:
                    continue
            label_map = mask if mask in self._files else None
            row = rows.get(subject, {})
            number = row.get("class")
            class_id = None if number in (None, "n/a") else int(number)
            synthetic = row.get("synthetic") != "no"
            site = None if row.get("site") in (None, "n/a") else row["site"]
            samples.append(Sample(subject, path, label_map, class_id, synthetic, channels, site))
        if not samples:
            raise UsageError(
                f"the release {self.root} holds no NIfTI image; a DICOM release is read by a "
                "DICOM library, or made again with release create --format bids; one of pictures "
                "is read by an image library"
            )
        return tuple(samples)

    def _rows(self) -> dict[str, dict[str, str]]:
        """Subject -> its row of the table."""
        text = self.read("participants.tsv").decode()
        rows = csv.DictReader(io.StringIO(text), delimiter="\t")
        return {row["participant_id"].removeprefix("sub-"): row for row in rows}


def _named(path: str) -> tuple[str, str] | None:
    """Subject of an image by its path, and where its label map is if there is one; or None."""
    match = _IMAGE.fullmatch(path)
    if match is not None:
        subject, folder = match["subject"], match["folder"]
        return subject, f"derivatives/labels/{folder}/sub-{subject}_dseg.nii.gz"
    case = _CASE.fullmatch(path)
    return None if case is None else (case["subject"], f"labelsTr/{case['subject']}.nii.gz")


def open_release(
    folder: Path, public_key: Path | None = None, progress: Progress = SILENT
) -> OpenRelease:
    """Verify a release and open it for reading.

    Raises:
        IntegrityError: it was changed, forged, damaged or signed by another key, or awaits
            approval.
        UsageError: it holds no NIfTI image, or `public_key` cannot be read.
        NotFoundError, AccessError: as `verify`.
    """
    root = Path(folder)
    trusted = None if public_key is None else read_key(public_key)
    result, files = check_files(root, trusted, progress)
    if not result.unchanged or result.valid is False:
        more = len(result.problems) - 1
        others = f" (and {more} more problems)" if more > 0 else ""
        raise IntegrityError(f"the release {root} is not valid: {result.problems[0]}{others}")
    return OpenRelease(root, result, files)


def _unpacked(data: bytes) -> bytes:
    """A gzip member, of which no more than `_MOST_BYTES` are unpacked."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    content = unpacker.decompress(data, _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("more than 2 GiB, or cut short")
    return content
