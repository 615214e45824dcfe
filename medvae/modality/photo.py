"""Colour photographs (skin, fundus, endoscopy): pictures with three values a pixel."""

from __future__ import annotations

from typing import Final

from medvae.modality.base import Bids, Dicom, Modality, Procedural, Units
from medvae.modality.scaling import Depth

PHOTO: Final = Modality(
    name="photo",
    title="photographs",
    scaling=Depth(most=255.0),
    units=Units("", "colour values", "colour values, 0 to 255", "arbitrary"),
    dicom=Dicom(
        storage="1.2.840.10008.5.1.4.1.1.77.1.4",
        modality="XC",
        refused=(("1.2.840.10008.5.1.4.1.1.77.1", "a photograph"),),
    ),
    bids=Bids(folder="photo", suffixes=("photo",), described="photographs", read=()),
    procedural=Procedural(),
    intensity="quantiles",
    planar=True,
    called="photographs",
    channels=("red", "green", "blue"),
    limits_of_use=(
        "Colours are 0 to 255 of no calibrated camera; pixel sizes are nominal where the cohort "
        "declared none.",
    ),
)
