"""A volume as plain DICOM: the slices of one series of the modality's storage class.

Every file says that it is synthetic (DICOM PS3.3 C.7.1.1, C.7.6.1, C.8.13.2): patient name
SYNTH^0001, Patient Identity Removed YES, image type DERIVED, Content Qualification
RESEARCH, and descriptions in words. Window and rescale are the same for all slices. UIDs are
new, under 2.25 (a UUID as a number), and follow from the voxels, so that equal releases are
equal byte for byte.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.modality.base import Dicom, Modality
from medvae.release.nifti import as_int16
from medvae.release.tables import VERSION
from medvae.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

Voxel = TypeVar("Voxel", bound=np.generic)
Masks = npt.NDArray[np.uint8]

_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
# Names the program that wrote the file: the name-based UUID of "medvae".
_IMPLEMENTATION = "2.25.16329016320837015170768518408284650988"
# Unpaired body parts among the defined terms of PS3.16 annex L; others are left unsaid.
_BODY_PARTS = {
    "ABDOMEN", "BRAIN", "CHEST", "HEAD", "HEART", "LIVER", "NECK", "PANCREAS", "PELVIS",
    "PROSTATE", "SPINE", "SPLEEN", "UTERUS",
}  # fmt: skip

# Of a series: who and in which study, which what is drawn on it shares.
OF_THE_STUDY = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "StudyDate", "StudyTime", "SeriesDate",
    "SeriesTime", "StudyDescription", "SeriesDescription", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Manufacturer", "ManufacturerModelName", "SoftwareVersions",
    "BodyPartExamined", "BurnedInAnnotation",
)  # fmt: skip


class Series:
    """What the slices of one series share besides the volume itself.

    Attributes:
        channel, number: of several series of a volume, which one it is; number 1 is the first.
        study: a digest that these have in common; empty for a series alone.
    """

    def __init__(
        self, patient: str, created: str, body_part: str, limits: tuple[float, float]
    ) -> None:
        self.channel, self.number, self.study = "", 1, b""
        self.patient = patient
        self.date = created[:10].replace("-", "")
        self.body_part = body_part.upper()
        self.limits = limits

    def of_channel(
        self, channel: str, number: int, study: bytes, limits: tuple[float, float]
    ) -> Series:
        """The series of one channel, in one study and frame of reference with the others."""
        series = copy(self)
        series.limits = limits
        series.channel, series.number, series.study = channel, number, study
        return series


@dataclass(frozen=True)
class Slices:
    """The slices of a volume in the order of their position, and its mask on the same grid.

    Attributes:
        shared: what all slices say.
        own: of each slice, what no other says, with its `file_meta`; no element of `shared`.
        mask: [X, Y, Z], columns and rows as in the slices; None of a volume without one.
    """

    shared: Dataset
    own: list[Dataset]
    mask: Masks | None


def series_slices(volume: Volume, series: Series) -> Slices:
    """A volume as the slices of one series.

    Raises:
        InputError: the geometry cannot be said in DICOM (a sheared affine).
    """
    modality = modalities.get(volume.modality)
    levels = as_int16(volume.single("DICOM"), modality.step)
    voxels, affine = _upright(levels, volume.affine)
    base = _series_dataset(modality, voxels, series)
    _say_grid(base, modality.dicom, affine)
    own = [
        _slice_dataset(base, modality.dicom, voxels, affine, index)
        for index in range(voxels.shape[2])
    ]
    mask = None if volume.mask is None else _upright(volume.mask, volume.affine)[0]
    return Slices(base, own, mask)


def channel_slices(
    volume: Volume, series: Series, limits: Sequence[tuple[float, float]] = ()
) -> dict[str, Slices]:
    """A volume with channels as one series each, by name; the mask goes with the first.

    limits: of each channel what it can run from and to; without it those of `series`.

    Raises:
        UsageError: the channels are the colours of a picture.
        InputError: as `series_slices`.
    """
    if modalities.get(volume.modality).planar:
        volume.single("writing DICOM")
    study = hashlib.sha256(np.ascontiguousarray(volume.voxels).data).digest()
    slices_of = {}
    for at, name in enumerate(volume.channels):
        channel = volume.channel(at)
        own = series.of_channel(name, at + 1, study, limits[at] if limits else series.limits)
        slices_of[name] = series_slices(channel if at == 0 else replace(channel, mask=None), own)
    return slices_of


def cine_slices(volume: Volume, series: Series) -> Slices:
    """A moving image as the slices of one series, frame by frame, each with its number in time.

    Raises:
        InputError: as `series_slices`.
    """
    study = hashlib.sha256(np.ascontiguousarray(volume.voxels).data).digest()
    series = series.of_channel("", 1, study, series.limits)
    frames = [series_slices(volume.channel(at), series) for at in range(len(volume.channels))]
    shared = frames[0].shared
    own: list[Dataset] = []
    shared.NumberOfTemporalPositions = len(frames)
    for number, frame in enumerate(frames, 1):
        for dataset in frame.own:
            dataset.TemporalPositionIdentifier = number
            dataset.InstanceNumber = len(own) + 1
            dataset.SOPInstanceUID = uid("instance", str(shared.SeriesInstanceUID), str(len(own)))
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            own.append(dataset)
    return Slices(shared, own, frames[0].mask)


def _upright(
    voxels: npt.NDArray[Voxel], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Voxel], npt.NDArray[np.float64]]:
    """Flip in-plane axes so that columns run to the patient's left and rows to the back.

    That is how an axial slice is shown. Returns the voxels and their affine in LPS.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    for axis in (0, 1):
        direction = lps[:3, axis]
        if direction[np.abs(direction).argmax()] < 0:
            lps[:3, 3] += direction * (voxels.shape[axis] - 1)
            lps[:3, axis] = -direction
            voxels = np.flip(voxels, axis)
    unit = lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)
    if not np.allclose(unit.T @ unit, np.eye(3), atol=1e-4):
        raise InputError("a sheared geometry cannot be written as DICOM; release it as BIDS")
    return voxels, lps


def uid(*parts: bytes | str) -> str:
    """A UID that follows from its parts: 2.25 and a name-based UUID."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"


def _series_dataset(modality: Modality, voxels: npt.NDArray[np.int16], series: Series) -> Dataset:
    from pydicom.dataset import Dataset

    dicom = modality.dicom
    content = series.study or hashlib.sha256(np.ascontiguousarray(voxels).data).digest()
    root = (series.patient, series.date, content)
    own = (series.channel,) if series.channel else ()
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = dicom.storage
    dataset.StudyInstanceUID = uid("study", *root)
    dataset.SeriesInstanceUID = uid("series", *root, *own)
    dataset.FrameOfReferenceUID = uid("frame of reference", *root)
    say_who(dataset, series)
    dataset.Modality = dicom.modality
    dataset.ImageType = list(dicom.image_type)
    say_how(dataset, dicom)
    _say_pixels(dataset, voxels, modality, series.limits)
    if dicom.count_keyword:
        setattr(dataset, dicom.count_keyword, voxels.shape[2])
    return dataset


def say_who(dataset: Dataset, series: Series) -> None:
    """Patient, study and series: nobody, and it says so."""
    number = "".join(c for c in series.patient if c.isdigit()) or series.patient
    dataset.PatientName = f"SYNTH^{number}"
    dataset.PatientID = series.patient
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic: generated by a model, no person was imaged"
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = series.date
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "000000" if series.date else ""
    dataset.StudyDescription = "SYNTHETIC DATA - NOT FOR DIAGNOSIS"
    named = f"{series.channel} - " if series.channel else ""
    dataset.SeriesDescription = f"{named}SYNTHETIC DATA - NOT FOR DIAGNOSIS"
    dataset.SeriesNumber = series.number
    dataset.PatientPosition = "HFS"
    dataset.PositionReferenceIndicator = ""
    if series.body_part in _BODY_PARTS:
        dataset.BodyPartExamined = series.body_part
    else:
        # PS3.3 C.7.3.1, of Type 2C: of a part of the body that may be one of a pair.
        dataset.Laterality = ""


def say_how(dataset: Dataset, dicom: Dicom) -> None:
    """Equipment and acquisition: there was none."""
    dataset.Manufacturer = "medvae"
    dataset.ManufacturerModelName = "generative model"
    dataset.SoftwareVersions = VERSION
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = "NO"
    dataset.DerivationDescription = "Sampled from a generative model; not an acquisition"
    dataset.LossyImageCompression = "00"
    dataset.AcquisitionNumber = 1
    for keyword, value in dicom.attributes:
        setattr(dataset, keyword, value)
    if "PatientOrientationCodeSequence" in dataset:
        # PS3.3 C.7.3.1.1.2: either the codes or the word.
        del dataset.PatientPosition


def _say_pixels(
    dataset: Dataset,
    voxels: npt.NDArray[np.int16],
    modality: Modality,
    limits: tuple[float, float],
) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Columns, dataset.Rows = voxels.shape[0], voxels.shape[1]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    low, high = limits
    windows = {"full range": ((low + high) / 2, max(high - low, 1.0))}
    if modality.scaling.absolute:
        dataset.RescaleIntercept, dataset.RescaleSlope = 0, modality.step
    if modality.dicom.rescale_type:
        dataset.RescaleType = modality.dicom.rescale_type
    windows |= dict(modality.dicom.windows)
    dataset.WindowCenter = [centre for centre, _ in windows.values()]
    dataset.WindowWidth = [width for _, width in windows.values()]
    dataset.WindowCenterWidthExplanation = list(windows)


def _say_grid(dataset: Dataset, dicom: Dicom, affine: npt.NDArray[np.float64]) -> None:
    """Voxel size and orientation, from an affine in LPS."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    columns, rows = (affine[:3, axis] / steps[axis] for axis in range(2))
    dataset.PixelSpacing = [decimal(steps[1]), decimal(steps[0])]
    dataset.SliceThickness = decimal(steps[2])
    if dicom.spacing_between:
        dataset.SpacingBetweenSlices = decimal(steps[2])
    dataset.ImageOrientationPatient = [decimal(v) for v in (*columns, *rows)]


def _slice_dataset(
    base: Dataset,
    dicom: Dicom,
    voxels: npt.NDArray[np.int16],
    affine: npt.NDArray[np.float64],
    index: int,
) -> Dataset:
    """One slice: its own number, place and pixels."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    position = affine[:3, 3] + index * affine[:3, 2]
    dataset.SOPInstanceUID = uid("instance", str(base.SeriesInstanceUID), str(index))
    dataset.InstanceNumber = index + 1
    if dicom.index_keyword:
        setattr(dataset, dicom.index_keyword, index + 1)
    dataset.ImagePositionPatient = [decimal(v) for v in position]
    dataset.SliceLocation = decimal(float(position @ normal))
    # DICOM wants rows one after another: [Y, X].
    dataset.PixelData = np.ascontiguousarray(voxels[:, :, index].T).astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = file_meta(str(base.SOPClassUID), dataset.SOPInstanceUID)
    return dataset


def file_meta(storage: str, instance: str) -> FileMetaDataset:
    """The group that begins a file of ours: uncompressed, Explicit VR Little Endian."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(storage)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    meta.ImplementationVersionName = "MEDVAE"
    return meta


def drawn_on(
    slices: Slices, mask: Masks, labels: Mapping[str, str], storage: str, word: str
) -> tuple[Dataset, tuple[bytes | str, ...]]:
    """An object of labels over a series: who, in which study, and its own UIDs.

    Args:
        storage: its SOP class.
        word: of the kind of object, on which its UIDs depend.

    Returns the object, and what further UIDs of it follow from.
    """
    from pydicom.dataset import Dataset

    first, dataset = slices.shared, Dataset()
    for keyword in OF_THE_STUDY:
        if keyword in first:
            setattr(dataset, keyword, first[keyword].value)
    content = hashlib.sha256(np.ascontiguousarray(mask).data).digest()
    series = str(first.SeriesInstanceUID)
    root: tuple[bytes | str, ...] = (series, content, *labels, *labels.values())
    dataset.SOPClassUID = storage
    dataset.SOPInstanceUID = uid(word, *root)
    dataset.SeriesInstanceUID = uid(f"{word} series", *root)
    dataset.file_meta = file_meta(storage, dataset.SOPInstanceUID)
    return dataset, root


def decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    text = f"{value + 0.0:.10g}"
    return "0" if text in ("-0", "0") else text[:16]


def item(**attributes: Any) -> Dataset:
    """An item of a sequence, by keywords."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset
