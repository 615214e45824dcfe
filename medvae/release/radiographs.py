"""A drawn radiograph as DICOM: one image of the class DX for presentation (PS3.3 A.26).

What a detector, a projection or a view would say is absent, or empty where the class asks for it:
there was none.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from medvae.errors import UsageError
from medvae.modality.xray import XRAY
from medvae.release.dicom import Series, decimal, file_meta, say_how, say_who, uid
from medvae.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def radiograph(volume: Volume, series: Series) -> Dataset:
    """The image of a volume [X, Y, 1] of 0 to 255, with its `file_meta`.

    Raises:
        UsageError: it is no radiograph.
    """
    from pydicom.dataset import Dataset

    if volume.modality != XRAY.name:
        raise UsageError(f"{volume.modality} is not written as a DICOM radiograph: use png")
    grey = np.clip(np.rint(volume.single("writing a radiograph")[..., 0]), 0, 255)
    rows = np.ascontiguousarray(grey.T[::-1].astype(np.uint8))
    root = (series.patient, series.date, hashlib.sha256(rows.data).digest())
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = XRAY.dicom.storage
    dataset.SOPInstanceUID = uid("instance", *root)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study", *root), uid("series", *root)
    say_who(dataset, series)
    say_how(dataset, XRAY.dicom)
    for absent in ("PatientPosition", "PositionReferenceIndicator", "Laterality"):
        if absent in dataset:
            delattr(dataset, absent)
    dataset.Modality, dataset.ImageType = XRAY.dicom.modality, list(XRAY.dicom.image_type)
    dataset.InstanceNumber = 1
    dataset.ImagerPixelSpacing = [decimal(volume.spacing[1]), decimal(volume.spacing[0])]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    # An element of an even number of bytes.
    dataset.PixelData = rows.tobytes() + b"\0" * (rows.size % 2)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = file_meta(XRAY.dicom.storage, dataset.SOPInstanceUID)
    return dataset
