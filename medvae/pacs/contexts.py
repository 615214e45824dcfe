"""Presentation contexts (PS3.8 7.1.1.13): what may be stored, and in which transfer syntaxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.modality.ct import CT
from medvae.modality.mr import MR
from medvae.modality.pet import PET

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

# Series that are fetched: images of these modalities, and the objects that mark them.
IMAGES = ("CT", "MR", "PT")
MARKS = ("SEG", "RTSTRUCT")

VERIFICATION = "1.2.840.10008.1.1"
STORAGE = "1.2.840.10008.5.1.4.1.1."
# Images that hold volumes.
VOLUMES = (*CT.dicom.read, *MR.dicom.read, *PET.dicom.read)
# What else such series hold: segmentations, contours, colour MR, secondary captures.
OTHERS = tuple(STORAGE + end for end in ("66.4", "66.7", "481.3", "4.3", "7", "7.2", "7.3", "7.4"))

PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
# JPEG lossless (two processes), JPEG-LS, JPEG 2000, RLE; then the lossy ones of JPEG.
PACKED = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
)


def accepted_contexts() -> list[PresentationContext]:
    """All that we receive from a sender who chooses how to send it; and C-ECHO."""
    from pynetdicom import build_context

    syntaxes = [*PLAIN, *PACKED]
    storage = [build_context(uid, syntaxes) for uid in (*VOLUMES, *OTHERS)]
    return [build_context(VERIFICATION, list(PLAIN)), *storage]


def storage_contexts() -> list[PresentationContext]:
    """All that we receive.

    Each transfer syntax of an image has a context of its own, so that an archive sends it as it
    is stored: of several in one context it chooses one, and would have to re-encode the others.
    """
    from pynetdicom import build_context

    single = [build_context(uid, [syntax]) for uid in VOLUMES for syntax in PACKED]
    plain = [build_context(uid, list(PLAIN)) for uid in (*VOLUMES, *OTHERS)]
    return [*plain, *single, *(build_context(uid, list(PACKED)) for uid in OTHERS)]
