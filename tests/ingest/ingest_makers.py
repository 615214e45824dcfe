"""Small valid inputs to read, break and lie with."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    generate_uid,
)

from medvae.ingest import Ingested, Quarantined, read

AFFINE = np.diag([1.5, 2.0, 2.5, 1.0])


def voxels(shape: tuple[int, ...] = (7, 8, 9), dtype: Any = np.int16, seed: int = 0) -> np.ndarray:
    """Numbers that differ, from 0 to 1000."""
    values = np.random.default_rng(seed).integers(0, 1000, shape)
    return values.astype(dtype)


def nifti(
    data: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    kind: Any = nibabel.Nifti1Image,
    change: Callable[[Any], None] = lambda header: None,
) -> bytes:
    """The bytes of a .nii file; `change` gets the header before it is written."""
    image = kind(voxels() if data is None else data, affine)
    change(image.header)
    return image.to_bytes()


def patched(data: bytes, offset: int, patch: bytes) -> bytes:
    """Bytes with a few overwritten."""
    return data[:offset] + patch + data[offset + len(patch) :]


def save(path: Path, data: bytes) -> Path:
    """Write a file, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def slice_of(
    index: int,
    pixels: np.ndarray,
    *,
    modality: str = "CT",
    position: Any = None,
    orientation: Any = (1, 0, 0, 0, 1, 0),
    series: str = "1.2.3.4",
    patient: str = "PAT-1",
    **more: Any,
) -> Dataset:
    """One slice of an uncompressed series, 2.5 mm apart along z."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    data.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(index), patient])
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.PatientID, data.PatientName = patient, "Doe^Jane"
    # A study is of one patient.
    data.StudyInstanceUID = generate_uid(entropy_srcs=["study", patient])
    data.SeriesInstanceUID = series
    data.Modality = modality
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    data.PixelSpacing = [0.75, 0.5]
    data.SliceThickness = 2.5
    data.ImageOrientationPatient = list(orientation)
    data.ImagePositionPatient = list(
        (10.0, 20.0, 30.0 + 2.5 * index) if position is None else position
    )
    data.InstanceNumber = index + 1
    if modality == "CT":
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
    data.PixelData = pixels.astype("<i2").tobytes()
    for name, value in more.items():
        setattr(data, name, value)
    return data


def write(folder: Path, slices: list[Dataset]) -> Path:
    """Write slices under names that say nothing of their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(slices):
        name = f"{(number * 40 + 3) % 97:02d}_{number}.dcm"
        data.save_as(folder / name, enforce_file_format=True)
    return folder


def series(n: int = 5, size: tuple[int, int] = (6, 4), **more: Any) -> list[Dataset]:
    """A series of `n` slices of `size` rows and columns."""
    stack = voxels((n, *size))
    return [slice_of(i, stack[i], **more) for i in range(n)]


def taken(*sources: Path, **options: Any) -> list[Ingested]:
    """Everything read, all of it usable."""
    results = list(read(list(sources), **options))
    refused = [r for r in results if isinstance(r, Quarantined)]
    assert not refused, refused
    return [r for r in results if isinstance(r, Ingested)]


def one(source: Path, **options: Any) -> Ingested:
    """The one volume of a source."""
    (result,) = taken(source, **options)
    return result


def refusal(source: Path, **options: Any) -> str:
    """The one reason why nothing of a source was taken, checked to be a sentence."""
    results = list(read([source], **options))
    assert len(results) == 1, results
    assert isinstance(results[0], Quarantined), results
    return is_sentence(results[0].reason)


def is_sentence(reason: str) -> str:
    """A reason fit to be shown: one line, printable, short."""
    assert reason
    assert reason.isprintable()
    assert len(reason) < 500
    return reason


def dicomdir(root: Path, names: list[list[str]]) -> Path:
    """A DICOMDIR in a folder, that lists files by the components of their names."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    records = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name
        records.append(record)
    data.DirectoryRecordSequence = Sequence(records)
    root.mkdir(parents=True, exist_ok=True)
    data.save_as(root / "DICOMDIR", enforce_file_format=True)
    return root / "DICOMDIR"
