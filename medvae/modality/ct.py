"""Computed tomography: Hounsfield units, so a grey value means the same in everybody."""

from __future__ import annotations

from typing import Final

from medvae.modality.base import (
    Bids,
    Dicom,
    HeaderNumber,
    Modality,
    Procedural,
    TissueLimits,
    Units,
)
from medvae.modality.scaling import Window

# Whole numbers that reach below this are Hounsfield units: air is -1000.
BELOW_TISSUE: Final = -500.0


def _recognised(lowest: float, whole: bool) -> bool:
    return whole and lowest <= BELOW_TISSUE


CT: Final = Modality(
    name="ct",
    title="CT",
    scaling=Window(),
    units=Units("HU", "Hounsfield units", "HU", "HU"),
    dicom=Dicom(
        storage="1.2.840.10008.5.1.4.1.1.2",
        modality="CT",
        read=(
            "1.2.840.10008.5.1.4.1.1.2",
            "1.2.840.10008.5.1.4.1.1.2.1",
            "1.2.840.10008.5.1.4.1.1.2.2",
        ),
        image_type=("DERIVED", "SECONDARY", "AXIAL"),
        attributes=(("KVP", None),),
        # What a reader of CT expects.
        windows=(("soft tissue", (40, 400)), ("lung", (-600, 1500))),
        rescale_type="HU",
        # "US" is DICOM's word for unspecified (PS3.3 C.11.1.1.2).
        unit_values=frozenset({"", "HU", "US"}),
        # Of Type 1 in both CT images (PS3.3 C.8.2.1, C.7.6.16.2.9): stored numbers are raw.
        scale=("RescaleIntercept",),
        padding=-1024,
        empty=-1000,
        numbers=(HeaderNumber("kvp", "KVP", "CTXRayDetailsSequence"),),
        kernel=True,
    ),
    bids=Bids(
        folder="ct",
        suffixes=("ct",),
        described="CT",
        read=("ct", "anat"),
        note="BIDS has no CT yet: images lie in `ct/` as its proposal BEP024 has it, and "
        "`.bidsignore` says so.",
    ),
    # Typical tissue on the default window.
    procedural=Procedural(
        tissues=(-1.0, -0.9, -0.85, -0.8, -0.1, -0.05, 0.0, 0.03, 0.05, 0.08, 0.2, 0.4, 0.8),
        tissue_std=0.03,
        texture=0.06,
    ),
    intensity="distribution",
    # A window that reaches down to air shows lung and soft tissue, 445 HU on either side of -405.
    field_range=(-900.0, -405.0),
    # Lung is below -500 HU; fat is from -190 to -30, muscle from -29 to 150 (Aubrey et al. 2014),
    # and so are organs; bone is brighter, and so is what a contrast agent makes brightest.
    tissues=TissueLimits(body=-300.0, gas=-400.0, soft=0.0, muscle=-30.0, bone=200.0, varies=150.0),
    recognised=_recognised,
    # Extended scales for metal end near 31,000; 16 bits that are read with the wrong sign do not.
    plausible=(-40_000.0, 40_000.0),
)
