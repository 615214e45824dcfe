"""Positron emission tomography: standardised uptake values by body weight (SUVbw, g/ml)."""

from __future__ import annotations

from typing import Final

from medvae.modality.base import Bids, Dicom, Modality, Procedural, Units
from medvae.modality.scaling import Window

PET: Final = Modality(
    name="pet",
    title="PET",
    scaling=Window(),
    units=Units("SUV", "SUV (g/ml)", "SUV by body weight (g/ml)", "g/mL"),
    dicom=Dicom(
        storage="1.2.840.10008.5.1.4.1.1.128",
        modality="PT",
        read=(
            "1.2.840.10008.5.1.4.1.1.128",
            "1.2.840.10008.5.1.4.1.1.128.1",
            "1.2.840.10008.5.1.4.1.1.130",
        ),
        # PS3.3 C.8.9.4.1.1: the second value is PRIMARY, also of what is derived.
        image_type=("DERIVED", "PRIMARY"),
        # PS3.3 C.8.9.1, C.8.9.2 and C.8.9.4; there was no tracer, no decay and no time.
        attributes=(
            ("SeriesType", ["STATIC", "IMAGE"]),
            ("Units", "GML"),
            ("SUVType", "BW"),
            ("CountsSource", "EMISSION"),
            ("CorrectedImage", None),
            ("DecayCorrection", "NONE"),
            ("CollimatorType", None),
            ("RadiopharmaceuticalInformationSequence", []),
            ("FrameReferenceTime", 0),
            ("ActualFrameDuration", None),
            ("AcquisitionDate", ""),
            ("AcquisitionTime", ""),
            # PS3.3 C.8.4.6, of Type 2: there was no gantry.
            ("PatientOrientationCodeSequence", []),
            ("PatientGantryRelationshipCodeSequence", []),
        ),
        unit_keyword="Units",
        unit_values=frozenset({"GML"}),
        # By body weight, as it is where nothing is said (PS3.3 C.8.9.1); CID 85 of PS3.16.
        unit_kind=("SUVType", frozenset({"", "BW"})),
        unit_codes=frozenset({"{SUVbw}g/ml"}),
        # Of Type 1 (PS3.3 C.8.9.4): a slope of its own for each slice.
        scale=("RescaleSlope",),
        index_keyword="ImageIndex",
        count_keyword="NumberOfSlices",
    ),
    bids=Bids(
        folder="pet",
        suffixes=("pet",),
        described="PET",
        read=("pet",),
        note="BIDS asks of PET for the tracer, its dose and times, which synthetic images do not "
        "have: `.bidsignore` says so.",
    ),
    # Background, organs, and few voxels of high uptake, on the default window.
    procedural=Procedural(
        tissues=(-1.0, -1.0, -0.9, -0.75, -0.68, -0.6, -0.5, -0.37, -0.2, 0.0, 0.4),
        tissue_std=0.03,
        texture=0.06,
    ),
    intensity="distribution",
    # Most of a body is below SUV 1 and what is looked for is above 3: a root gives both some of
    # the scale, and noise of counts the same strength in each.
    exponent=0.5,
    # A power of two: multiples are exact as float32, and as a slope of NIfTI and DICOM.
    step=2.0**-10,
    field_range=(0.0, 1.0),
    window=(0.0, 20.0),
    # Activity concentrations, in Bq/ml, are thousands; an SUV is at most some hundreds.
    plausible=(-100.0, 1000.0),
    limits_of_use=(
        "Uptake outside the window of the configuration is clipped, and no tracer, dose or time "
        "of scanning is stated: the cohort's protocol is not part of this release.",
    ),
)
