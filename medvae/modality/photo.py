"""Colour photographs (skin, fundus, endoscopy): named, so that they are refused by name."""

from __future__ import annotations

from typing import Final

from medvae.modality.base import Bids, Dicom, Modality, Procedural, Units
from medvae.modality.scaling import BitDepth

PHOTO: Final = Modality(
    name="photo",
    title="photographs",
    scaling=BitDepth(public=255.0),
    units=Units("", "colour values", "colour values, 0 to 255", "arbitrary"),
    dicom=Dicom(
        storage="1.2.840.10008.5.1.4.1.1.77.1.4",
        modality="XC",
        refused=(("1.2.840.10008.5.1.4.1.1.77.1", "a photograph"),),
    ),
    bids=Bids(folder="photo", suffixes=("photo",), described="photographs", read=()),
    procedural=Procedural(),
    intensity="quantiles",
    refusal="photographs have two axes and three colours, and a volume has three axes and one grey "
    "value a voxel",
)
