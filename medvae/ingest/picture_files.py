"""Pictures by their names: PNG, JPEG and TIFF files, which say nothing of what they show."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from medvae import modality as modalities
from medvae.volume import Volume

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# What the worker needs to be able to do for pictures: no NIfTI, and no DICOM but radiographs.
KINDS: Final = ("picture", "members", "content")
OF_DICOM: Final = ("headers", "referred", "radiograph")
NO_DICOMDIR: Final = "a DICOMDIR lists no pictures: give a folder of PNG, JPEG or TIFF files"


def is_picture(name: str) -> bool:
    """Whether the name (not the content) is that of a picture."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """A picture's path without its suffix; other names as they are."""
    return str(PurePosixPath(name).with_suffix("")) if is_picture(name) else name


def is_planar(modality: str | None) -> bool:
    """Whether a modality is of pictures."""
    return modality is not None and modalities.get(modality).planar


def kinds(modality: str) -> tuple[str, ...]:
    """What the worker needs to be able to do for a modality of pictures."""
    return (*KINDS, *OF_DICOM) if modalities.get(modality).dicom.read else KINDS


def no_picture(modality: str | None) -> str:
    """Why a file is not read where pictures were asked for."""
    suffixes = ", ".join(suffix.removeprefix(".").upper() for suffix in SUFFIXES)
    return f"it is no picture by its name: {modality} is read from {suffixes} files"


def unasked() -> str:
    """Why a picture is not read where volumes were asked for."""
    planar = [kind.name for kind in modalities.registered() if kind.planar and not kind.refusal]
    return f"it is a picture: say what pictures show with --modality {' or '.join(planar)}"


def answers(volume: Volume, modality: str) -> bool:
    """Whether a volume is a picture of a modality, as the worker was asked for."""
    kind = modalities.get(modality)
    return volume.modality == modality and volume.channels == kind.channels and volume.shape[2] == 1
