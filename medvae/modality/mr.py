"""Magnetic resonance: a scanner's arbitrary units, so each volume is scaled by its own contrast."""

from __future__ import annotations

from typing import Final

from medvae.modality.base import Bids, Dicom, HeaderNumber, Modality, Procedural, Units
from medvae.modality.ct import BELOW_TISSUE
from medvae.modality.scaling import Percentiles

_TIMING = "MRTimingAndRelatedParametersSequence"


def _recognised(lowest: float, whole: bool) -> bool:
    # Whole numbers with a minimum between -500 and -1 could be CT as well.
    return lowest >= 0 or (not whole and lowest > BELOW_TISSUE)


MR: Final = Modality(
    name="mri",
    title="MRI",
    scaling=Percentiles(scale=1000.0),
    units=Units("", "arbitrary units", "arbitrary, 0 to 1000", "arbitrary"),
    dicom=Dicom(
        storage="1.2.840.10008.5.1.4.1.1.4",
        modality="MR",
        read=(
            "1.2.840.10008.5.1.4.1.1.4",
            "1.2.840.10008.5.1.4.1.1.4.1",
            "1.2.840.10008.5.1.4.1.1.4.4",
        ),
        image_type=("DERIVED", "SECONDARY", "OTHER"),
        # Research mode, no variant: the enumerated values that claim nothing.
        attributes=(
            ("ScanningSequence", "RM"),
            ("SequenceVariant", "NONE"),
            ("ScanOptions", ""),
            ("MRAcquisitionType", "3D"),
            ("RepetitionTime", None),
            ("EchoTime", None),
            ("EchoTrainLength", None),
        ),
        numbers=(
            HeaderNumber("echo_time", "EchoTime", "MREchoSequence", "EffectiveEchoTime"),
            HeaderNumber("repetition_time", "RepetitionTime", _TIMING),
            HeaderNumber("inversion_time", "InversionTime", "MRModifierSequence", "InversionTimes"),
            HeaderNumber("flip_angle", "FlipAngle", _TIMING),
            HeaderNumber("field_strength", "MagneticFieldStrength"),
        ),
        spacing_between=True,
    ),
    bids=Bids(
        folder="anat",
        suffixes=("T1w", "T2w", "FLAIR", "PDw", "PDT2", "T2starw", "inplaneT1"),
        described="anatomical MRI",
        read=("anat",),
    ),
    procedural=Procedural(texture=0.15, shading=0.15, stretched=True),
    intensity="quantiles",
    recognised=_recognised,
    limits_of_use=("Intensities are in arbitrary units from 0 to 1000, not a scanner's.",),
)
