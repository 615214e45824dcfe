"""Projection radiographs: named, so that they are refused by name."""

from __future__ import annotations

from typing import Final

from medvae.modality.base import Bids, Dicom, Modality, Procedural, Units
from medvae.modality.scaling import BitDepth

XRAY: Final = Modality(
    name="xray",
    title="X-ray",
    scaling=BitDepth(public=4095.0),
    units=Units("", "grey values", "grey values, 0 to 4095", "arbitrary"),
    dicom=Dicom(
        storage="1.2.840.10008.5.1.4.1.1.1.1",
        modality="DX",
        refused=(("1.2.840.10008.5.1.4.1.1.1", "a radiograph"),),
    ),
    bids=Bids(folder="xray", suffixes=("xray",), described="X-ray", read=()),
    procedural=Procedural(),
    intensity="quantiles",
    refusal="radiographs have two axes, and a volume has three",
)
