"""What distinguishes the frames of one enhanced image beside their place (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest.dicom.kinds import no_anatomy
from medvae.ingest.dicom.values import text

# Name for people, functional group, attribute.
DIMENSIONS = (
    ("stacks", "FrameContentSequence", "StackID"),
    ("time points", "FrameContentSequence", "TemporalPositionIndex"),
    ("echo times", "MREchoSequence", "EffectiveEchoTime"),
    ("b-values", "MRDiffusionSequence", "DiffusionBValue"),
    ("frame types", "MRImageFrameTypeSequence", "FrameType"),
    ("frame types", "CTImageFrameTypeSequence", "FrameType"),
    ("signal components", "MRImageFrameTypeSequence", "ComplexImageComponent"),
)
TYPES = ("frame types", "signal components")
Places = npt.NDArray[np.float64]


def traits(groups: Sequence[Dataset]) -> tuple[str, ...]:
    """A value for each of `DIMENSIONS`, empty where none is given.

    Args:
        groups: the frame's own functional groups, then the shared ones.
    """
    return tuple(_value(groups, group, name) for _, group, name in DIMENSIONS)


def why_not(traits: tuple[str, ...]) -> str:
    """Why a frame is no picture of anatomy, by its type; empty where it may be."""
    words: list[str] = []
    for (name, _, _), value in zip(DIMENSIONS, traits, strict=True):
        if name in TYPES:
            words += [word.strip().upper() for word in value.split("\\") if word]
            # The first two say nothing of what is shown; a component stands alone.
            words = words or ["", ""]
    return no_anatomy(words)


def check_one_scan(along: Places, frames: Sequence[tuple[str, ...]]) -> None:
    """Refuse frames of several scans that interleave without sharing a place.

    Args:
        along: [N] positions along the normal, millimetres, rising.
        frames: [N] `traits` of each.

    Raises:
        InputError: frames that differ in a dimension are at places between one another.
    """
    for number, (dimension, _, _) in enumerate(DIMENSIONS):
        places: dict[str, list[float]] = {}
        for place, one in zip(along.tolist(), frames, strict=True):
            places.setdefault(one[number] if one else "", []).append(place)
        # A value of its own for each frame counts frames; it distinguishes no scans.
        if 1 < len(places) <= len(frames) // 2 and _interleave(list(places.values())):
            raise InputError(
                f"its frames are of {len(places)} {dimension} between one another: split it into "
                "one image each first"
            )


def _interleave(places: list[list[float]]) -> bool:
    ends = sorted((one[0], one[-1]) for one in places)
    shared = [min(one[1], two[1]) - two[0] for one, two in pairwise(ends)]
    lengths = [last - first for first, last in ends]
    return max(shared) > 0.5 * float(np.min(lengths)) > 0


def _value(groups: Sequence[Dataset], group: str, name: str) -> str:
    for holder in groups:
        for one in holder.get(group) or []:
            if found := text(one, name):
                return found
    return ""
