"""Projection radiographs: pictures with one grey value a pixel."""

from __future__ import annotations

from typing import Final

from medvae.modality.base import Bids, Dicom, Modality, Procedural, Units
from medvae.modality.scaling import Depth

XRAY: Final = Modality(
    name="xray",
    title="X-ray",
    scaling=Depth(most=255.0),
    units=Units("", "grey values", "grey values, 0 to 255", "arbitrary"),
    dicom=Dicom(
        storage="1.2.840.10008.5.1.4.1.1.1.1",
        modality="DX",
        image_type=("DERIVED", "PRIMARY"),
        # PS3.3 C.8.11.1 to C.8.11.5; no detector, no projection and no exposure.
        attributes=(
            ("PresentationIntentType", "FOR PRESENTATION"),
            ("PixelIntensityRelationship", "LIN"),
            ("PixelIntensityRelationshipSign", -1),
            ("RescaleIntercept", 0),
            ("RescaleSlope", 1),
            ("RescaleType", "US"),
            ("PresentationLUTShape", "IDENTITY"),
            ("DetectorType", None),
            ("ImageLaterality", "U"),
            ("AnatomicRegionSequence", []),
            ("PatientOrientation", ["L", "F"]),
            ("AcquisitionContextSequence", []),
        ),
        # CR, and DX for presentation; numbers for processing are no picture yet.
        read=("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"),
        refused=(("1.2.840.10008.5.1.4.1.1.1", "a radiograph that is not for presentation"),),
    ),
    bids=Bids(folder="xray", suffixes=("xray",), described="X-ray", read=()),
    procedural=Procedural(),
    intensity="quantiles",
    planar=True,
    limits_of_use=(
        "Grey values are 0 to 255 and stand for no dose; pixel sizes are nominal where the cohort "
        "declared none.",
    ),
)
