"""What a DICOM file is an image of, and whether it can be part of a volume of anatomy."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.uid import UID

from medvae import modality as modalities
from medvae.ingest.dicom.values import private_number, text, whole
from medvae.modality import Modality

# What is often met beside images of a modality, for the sentence that says why it was left.
OTHERS = (
    ("1.2.840.10008.5.1.4.1.1.7", "a secondary capture (a screen copy, which may show names)"),
    ("1.2.840.10008.5.1.4.1.1.88", "a structured report"),
    ("1.2.840.10008.5.1.4.1.1.104", "an encapsulated document"),
    ("1.2.840.10008.5.1.4.1.1.66", "raw data"),
    ("1.2.840.10008.5.1.4.1.1.66.1", "a registration"),
    ("1.2.840.10008.5.1.4.1.1.66.3", "a registration"),
    ("1.2.840.10008.5.1.4.1.1.66.5", "a segmentation by surfaces: store it as SEG"),
    ("1.2.840.10008.5.1.4.1.1.77.1", "a picture by visible light"),
    ("1.2.840.10008.5.1.4.1.1.77.1.5.4", "optical coherence tomography"),
    ("1.2.840.10008.5.1.4.1.1.77.1.6", "a microscope slide"),
    ("1.2.840.10008.5.1.4.1.1.14", "optical coherence tomography"),
    ("1.2.840.10008.5.1.4.1.1.481", "a radiotherapy object"),
    ("1.2.840.10008.5.1.4.1.1.11", "a presentation state"),
    ("1.2.840.10008.5.1.4.1.1.20", "a nuclear medicine image"),
    ("1.2.840.10008.5.1.4.1.1.6", "an ultrasound image"),
    ("1.2.840.10008.5.1.4.1.1.3", "an ultrasound image"),
    ("1.2.840.10008.5.1.4.1.1.12", "a projection by X-rays (angiography or fluoroscopy)"),
    ("1.2.840.10008.5.1.4.1.1.13", "a volume of X-ray angiography or tomosynthesis"),
    ("1.2.840.10008.5.1.4.1.1.30", "a parametric map"),
    ("1.2.840.10008.5.1.4.1.1.4.2", "spectroscopy"),
    ("1.2.840.10008.5.1.4.1.1.9", "a waveform"),
    ("1.2.840.10008.1.3.10", "a DICOMDIR"),
)
# ConversionType (PS3.3 C.8.6.1) of pictures of pictures; workstations, which have others, write
# the grey values of scanners, too.
CONVERTED = {
    "DF": "a digitised film",
    "DV": "a digitised video",
    "SD": "a scanned document",
    "SI": "a scanned picture",
    "DRW": "a drawing",
}
# Objects that mark a series: segmentations, label maps of segments, contours.
MARKS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "segments",
    "1.2.840.10008.5.1.4.1.1.66.7": "segments",
    "1.2.840.10008.5.1.4.1.1.481.3": "contours",
}
# Parts of words of ImageType that mark what is not part of a volume.
NOT_VOLUMES = {
    "LOCALIZER": "it is a localizer",
    "SCOUT": "it is a localizer",
    "SCREEN SAVE": "it is a screen copy, which may show names",
    "PROJECTION": "it is a projection, not a slice",
    "DOSE": "it is a dose report",
    "VFRAME": "its slices lie beside one another in one image (VFRAME of United Imaging): export "
    "it as single slices or enhanced DICOM",
}
# Whole words of ImageType, from the third on (PS3.3 C.8.13.3, C.8.16.1 and vendors' own), of
# images whose intensities are not those of the modality.
NOT_ANATOMY = (
    (
        r"(.*[ _])?(M(AX)?[ _-]?IP|MN?IP|MIN[ _-]?IP|MAXIMUM|MINIMUM|VRT|SSD)([ _].*)?",
        "it is a projection, not a slice",
    ),
    (r"PHASE([ _]?MAP)?|P|P_[A-Z]{1,4}|SWI?_P", "it is a phase image, not a picture of anatomy"),
    (r"I|I_[A-Z]{1,4}|IMAGINARY", "it is the imaginary part of a complex image"),
    (r"(B0|FIELD|FREQUENCY)[ _]?MAP", "it is a map of the magnetic field"),
    (r"(VELOCITY|FLOW)[ _]?MAP", "it is a map of velocities"),
    (
        r"(REL?_?|R)?(CBF|CBV|MTT|TTP|TMAX|TTD|TTS)([ _]?MAP)?|(CT_?)?PERFUSION[ _]?MAPS?"
        r"|PERMEABILITY|K_?TRANS|P[BE]V|[GP]BP",
        "it is a map of perfusion",
    ),
    (
        r"E?ADC(_[0-9]*|[ _]?MAP)?|FA([ _]?MAP)?|COLFA|TENSOR.*|DIFFUSION_ANISO",
        "it is a map of diffusion",
    ),
    (r"(T1|T2|T2[ _]?(STAR|[*])|R2|R2[ _]?(STAR|[*])|PD)[ _]?MAP", "it is a map of relaxation"),
    (r"(B1|FLIP[ _]ANGLE)([ _]?MAP)?", "it is a map of the transmitted field"),
    (
        r"(.*[ _])?(FAT|WATER|SIGNAL)[ _]?(FRACTION|FRAC|PERCENT|PCT)([ _].*)?|PDFF|FF",
        "it is a map of fractions of fat or water",
    ),
    (r"(.*[ _])?(STIFFNESS|ELASTO\w*)([ _].*)?", "it is a map of stiffness"),
    (r"IODINE.*|Z_?EFF.*|RHO_?Z?|ELECTRON_DENSITY|WATER[(].*", "it is a map of a material"),
    (r"QUANTITY|STD_DEVIATION|.*[ _]MAP", "it is a map of a computed quantity"),
)
_NOT_ANATOMY = tuple((re.compile(pattern), what) for pattern, what in NOT_ANATOMY)
# Words that mark a computed map in an image that is marked as DERIVED: of any image, and
# (from the fourth word on) of an enhanced one, whose third word is its weighting.
_DERIVED_MAP = re.compile(r"(CT_?|MR_?)?(PERFUSION|PARAMETRIC).*")
_DERIVED_CONTRAST = re.compile(r"T1|T2|T2_STAR|PROTON_DENSITY|VELOCITY")
REAL = re.compile(r"R|R_[A-Z]{1,4}|REAL")
# Words of a series description that name something else than a scan of anatomy.
DOUBTFUL = re.compile(
    r"(^|[^a-z])(mip|minip|[de]?adc|fa|colfa|(rel?[ _]?|r)?(cbf|cbv|mtt)|ttp|tmax|perfusion"
    r"|k ?trans|phase ?(map|image)|pha|qsm|r2[*]|t2[*] ?map"
    r"|b0 ?map|field ?map|localizer|loc|scout|survey|surview|topogram|plan scan|3.?plane"
    r"|t[12] ?map|b1 ?map|fat ?frac(tion)?|pdff|stiffness|elastogra\w+|mre|subtraction"
    r"|projections?|vrt|3d ?render\w*)([^a-z]|$)"
)
# GE: 0 magnitude, 1 phase, 2 real, 3 imaginary.
GE_COMPONENT = 0x0043_0010, "GEMS_PARM_01", 0x0043_102F
GE_COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")


_PLANAR = tuple(kind for kind in modalities.registered() if kind.planar)


def modality_of(header: Dataset) -> Modality | None:
    """The modality whose images have this storage class (PS3.4 B.5), or None.

    Anonymisers empty the class; then the file meta information says it, else Modality.
    """
    if storage := storage_of(header):
        return next(
            (modality for modality in modalities.registered() if storage in modality.dicom.read),
            None,
        )
    named = text(header, "Modality").upper()
    for modality in modalities.registered():
        if modality.dicom.read and modality.dicom.modality == named:
            return modality
    return None


def storage_of(header: Dataset) -> str:
    """The storage class, empty where no part of the file names one."""
    meta = getattr(header, "file_meta", None)
    return text(header, "SOPClassUID") or (
        "" if meta is None else text(meta, "MediaStorageSOPClassUID")
    )


def marks_of(header: Dataset) -> str:
    """How a file marks a series ("segments", "contours"), or empty."""
    return MARKS.get(storage_of(header), "")


def why_not(header: Dataset) -> str:
    """Why a file cannot be part of a volume; empty if it can."""
    if modality_of(header) is None:
        return _foreign(storage_of(header))
    if reason := _contradiction(header):
        return reason
    if reason := no_anatomy(image_type(header)):
        return reason
    if reason := _converted(header):
        return reason
    if (parts := whole(header, "InConcatenationTotalNumber") or 1) > 1:
        number = whole(header, "InConcatenationNumber") or "?"
        return f"it is part {number} of {parts} of one image: join them to one file first"
    if text(header, "BurnedInAnnotation").upper() == "YES":
        return "it says that text is burned into the picture, which may name the patient"
    if (whole(header, "SamplesPerPixel") or 1) != 1:
        return "it is a colour image: expected one grey value a voxel"
    return _grey_scale(header)


def _converted(header: Dataset) -> str:
    """Why an image was made from a picture of the scanner's; empty where it was not."""
    made = CONVERTED.get(text(header, "ConversionType").upper())
    if made is None or modality_of(header) in _PLANAR:
        return ""
    return f"it is {made}, whose grey values are not those of the scanner: give the original"


def _grey_scale(header: Dataset) -> str:
    """Why the numbers are no grey values that rise with brightness; empty where they are."""
    photometric = text(header, "PhotometricInterpretation").upper()
    if photometric == "PALETTE COLOR":
        return "its numbers are those of a table of colours: expected one grey value a voxel"
    if not photometric:
        return "its header lacks PhotometricInterpretation: export it again"
    if photometric == "MONOCHROME1" and modality_of(header) in _PLANAR:
        return ""
    if photometric != "MONOCHROME2":
        return "its grey scale is not MONOCHROME2 (dark is low): convert it first"
    return ""


def notes_of(header: Dataset) -> list[str]:
    """Kinds of `medvae.ingest.notices` that a file that can be part of a volume is of."""
    words = image_type(header)
    notes = ["derived"] if words[0] == "DERIVED" else []
    if any(REAL.fullmatch(word) for word in words[2:]):
        notes.append("real")
    if is_mosaic(header):
        notes.append("mosaic")
    corrections = text(header, "CorrectedImage").upper().split("\\")
    if corrections != [""] and "ATTN" not in corrections:
        notes.append("attenuated")
    return notes


def image_type(header: Dataset) -> list[str]:
    """The words of ImageType, and after them what else says which part of a signal it is."""
    words = [word.strip().upper() for word in text(header, "ImageType").split("\\")]
    words += [""] * (2 - len(words))
    if component := text(header, "ComplexImageComponent").upper():
        words.append(component)
    number = private_number(header, *GE_COMPONENT)
    if number is not None and 0 <= number < len(GE_COMPONENTS):
        words.append(GE_COMPONENTS[number])
    return words


def is_mosaic(header: Dataset) -> bool:
    """Whether a file holds all slices of a Siemens acquisition beside one another."""
    return any(word == "MOSAIC" for word in image_type(header))


def is_doubtful(header: Dataset) -> bool:
    """Whether people named the series like something else than a scan of anatomy."""
    return DOUBTFUL.search(text(header, "SeriesDescription").lower()) is not None


def no_anatomy(words: list[str]) -> str:
    """Why words of ImageType name no picture of anatomy; empty where they may name one."""
    for part, reason in NOT_VOLUMES.items():
        if any(part in word for word in words):
            return reason
    # The first two words are ORIGINAL or DERIVED, PRIMARY or SECONDARY.
    for word in words[2:]:
        for pattern, what in _NOT_ANATOMY:
            if pattern.fullmatch(word):
                return what
    if words[0] == "DERIVED" and (
        any(_DERIVED_MAP.fullmatch(word) for word in words[2:])
        or any(_DERIVED_CONTRAST.fullmatch(word) for word in words[3:])
    ):
        return "it is a map that was computed from other images"
    return ""


def _contradiction(header: Dataset) -> str:
    """Why a file is not read whose Modality is that of other images than its storage class."""
    own, named = modality_of(header), text(header, "Modality").upper()
    others = {
        modality.dicom.modality for modality in modalities.registered() if modality.dicom.read
    }
    if own is None or named == own.dicom.modality or named not in others:
        return ""
    return (
        f"its SOP class is that of {own.dicom.modality} images and its Modality {named}, so it is "
        "unknown what its intensities are: correct the header"
    )


def _class_of(storage: str) -> str:
    """A class by its name in the standard, never by what the file says."""
    uid = UID(storage)
    if uid.name == storage:
        return "of a class that DICOM does not know, such as a vendor's own"
    return f"of the class {uid.name}"


def _foreign(storage: str) -> str:
    """Why a storage class that no modality reads is left."""
    if not storage:
        return "it does not say what it is: expected a SOP class, or CT or MR as its Modality"
    beginnings = [
        *OTHERS,
        *(two for modality in modalities.registered() for two in modality.dicom.refused),
    ]
    matching = [
        beginning for beginning in beginnings if f"{storage}.".startswith(f"{beginning[0]}.")
    ]
    # The longest is the most exact.
    what = max(matching, key=lambda pair: len(pair[0]), default=("", ""))[1] or _class_of(storage)
    read = [modality.dicom.modality for modality in modalities.registered() if modality.dicom.read]
    return f"it is {what}: expected {', '.join(read[:-1])} or {read[-1]} image storage"
