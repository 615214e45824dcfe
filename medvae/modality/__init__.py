"""CT, MRI, PET and others: what each stage must know about a modality, in one place.

A new modality is one file beside `ct.py` with its `Modality`, and one line in `_KNOWN`.
"""

from __future__ import annotations

from collections.abc import Sequence

from medvae.modality.base import Modality, UnknownModalityError
from medvae.modality.ct import CT
from medvae.modality.mr import MR
from medvae.modality.pet import PET
from medvae.modality.photo import PHOTO
from medvae.modality.xray import XRAY

__all__ = [
    "Modality",
    "UnknownModalityError",
    "check_channels",
    "get",
    "images_of",
    "names",
    "register",
    "registered",
    "usable",
]

_KNOWN = (MR, CT, PET, XRAY, PHOTO)
_registry: dict[str, Modality] = {}


def register(modality: Modality) -> None:
    """Make a modality known under its name.

    Raises:
        ValueError: another modality has the name, or reads the same DICOM storage class.
    """
    if modality.name in _registry:
        raise ValueError(f"there is a modality {modality.name!r} already")
    for other in _registry.values():
        if set(other.dicom.read) & set(modality.dicom.read):
            raise ValueError(f"{other.name} reads a DICOM storage class of {modality.name}")
    _registry[modality.name] = modality


def get(name: str) -> Modality:
    """The modality of a name.

    Raises:
        UnknownModalityError: there is none; the message names all.
    """
    try:
        return _registry[name]
    except (KeyError, TypeError):
        printable = "".join(c for c in str(name)[:40] if c.isprintable())
        raise UnknownModalityError(
            f"modality must be one of {', '.join(_registry)}, not {printable!r}"
        ) from None


def usable(name: str) -> Modality:
    """As `get`, of modalities that volumes can be of.

    Raises:
        UnknownModalityError: there is none, or it cannot be used yet.
    """
    modality = get(name)
    if modality.refusal:
        raise UnknownModalityError(
            f"modality {name} cannot be used yet: {modality.refusal}; "
            f"use one of {', '.join(names())}"
        )
    return modality


def check_channels(first: str, of_channels: Sequence[str], count: int) -> None:
    """Check the modalities of a volume's channels, which are of two or more.

    first: the modality of the volume, which is that of its first channel.

    Raises:
        ValueError: not one for each of `count` channels, the first another one, all the same, or
            one that is unknown or of pictures.
    """
    kinds = [get(name) for name in of_channels]
    if len(kinds) != count:
        raise ValueError(f"{count} channels need {count} modalities, not {len(kinds)}")
    if of_channels[0] != first:
        raise ValueError(f"the first channel is {of_channels[0]}, and the volume {first}")
    if len(set(of_channels)) == 1:
        raise ValueError(f"all channels are {first}: modalities are named where there are several")
    for kind in kinds:
        if kind.planar:
            raise ValueError(f"{kind.name} is of pictures, and cannot be a channel of a volume")


def images_of(of_channels: Sequence[str]) -> str:
    """What images of these modalities are called ("MRI volumes", "CT and PET volumes")."""
    kinds = [get(name) for name in dict.fromkeys(of_channels)]
    if len(kinds) == 1:
        return kinds[0].images
    return f"{', '.join(kind.title for kind in kinds[:-1])} and {kinds[-1].title} volumes"


def registered() -> tuple[Modality, ...]:
    """All modalities, in the order in which they were registered."""
    return tuple(_registry.values())


def names() -> tuple[str, ...]:
    """Names of those that can be used, in the same order."""
    return tuple(modality.name for modality in registered() if not modality.refusal)


for _one in _KNOWN:
    register(_one)
