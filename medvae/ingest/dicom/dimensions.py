"""What distinguishes the frames of one enhanced image beside their place (PS3.3 C.7.6.16)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest.dicom.kinds import no_anatomy
from medvae.ingest.dicom.values import floats, text
from medvae.ingest.placed import Traits
from medvae.ingest.scans import scans

CONTENT = "FrameContentSequence"
# Name for people, functional group, attribute (of an item within it, after a point).
DIMENSIONS = (
    ("stack", CONTENT, "StackID"),
    ("frame type", "MRImageFrameTypeSequence", "FrameType"),
    ("frame type", "CTImageFrameTypeSequence", "FrameType"),
    ("frame type", "PETFrameTypeSequence", "FrameType"),
    ("signal component", "MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("echo time", "MREchoSequence", "EffectiveEchoTime"),
    ("b-value", "MRDiffusionSequence", "DiffusionBValue"),
    (
        "direction of diffusion",
        "MRDiffusionSequence",
        "DiffusionGradientDirectionSequence.DiffusionGradientOrientation",
    ),
    ("time point", CONTENT, "TemporalPositionIndex"),
    ("time point", "TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("inversion time", "MRModifierSequence", "InversionTimes"),
    ("flip angle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("trigger time", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("tube voltage", "CTXRayDetailsSequence", "KVP"),
    ("kernel", "CTReconstructionSequence", "ConvolutionKernel"),
    ("acquisition number", CONTENT, "FrameAcquisitionNumber"),
    ("slice thickness", "PixelMeasuresSequence", "SliceThickness"),
    ("acquisition time", CONTENT, "FrameAcquisitionDateTime"),
)
TYPES = ("frame type", "signal component")
# Frames of one scan may differ in those from here on.
OF_SCANS = frozenset({*(name for name, _, _ in DIMENSIONS[:12]), "tube voltage", "kernel"})
# What the writer of an image counts, in dimensions of its own; one of them counts places.
MOST_INDICES = 8
BY = Traits(
    (*(name for name, _, _ in DIMENSIONS), *["dimension"] * MOST_INDICES),
    of_scans=OF_SCANS,
    of_passes=frozenset({"acquisition number"}),
    apart=frozenset({"stack"}),
    clocks=frozenset({"acquisition time"}),
)
# Of an image of one frame, which has no functional groups.
NONE = ("",) * len(BY.names)
Places = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Framed:
    """One frame, as `medvae.ingest.placed.Placed`; `index`: which one of its image."""

    index: int
    size: tuple[int, ...]
    spacing: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    thickness: float | None
    traits: tuple[str, ...]
    is_flat: bool = True


@dataclass(frozen=True)
class FrameScan:
    """The frames of one scan of an image, what distinguishes it, why it is not to be read."""

    frames: tuple[int, ...]
    split_by: str = ""
    refusal: str = ""


def scans_of(data: Dataset, count: int) -> list[FrameScan]:
    """The scans that the frames of one image are of.

    Args:
        data: at least the functional groups.
        count: of frames.
    """
    own = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    if len(own) != count:
        return [FrameScan(tuple(range(count)))]
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    refused: dict[str, list[int]] = {}
    framed = []
    for index, groups in enumerate(own):
        frame = _framed(data, index, groups, shared)
        if reason := why_not(frame.traits):
            refused.setdefault(reason, []).append(index)
        else:
            framed.append(frame)
    frame_scans = [
        FrameScan(tuple(image.index for image in scan.images), scan.split_by, scan.refusal)
        for scan in scans(framed, BY)
    ]
    return frame_scans + [
        FrameScan(tuple(all_of), "", reason) for reason, all_of in refused.items()
    ]


def traits(groups: Sequence[Dataset]) -> tuple[str, ...]:
    """A value for each name of `BY`, empty where none is given.

    Args:
        groups: the frame's own functional groups, then the shared ones.
    """
    if not any(map(len, groups)):
        return NONE
    indices = _value(groups, CONTENT, "DimensionIndexValues").split("\\")
    indices = (indices + [""] * MOST_INDICES)[:MOST_INDICES]
    *own, moment = (_value(groups, group, name) for _, group, name in DIMENSIONS)
    return (*own, _seconds(moment), *indices)


def _seconds(moment: str) -> str:
    """A date and time in seconds; as it is where it is none."""
    try:
        read = datetime.datetime.strptime(moment[:14], "%Y%m%d%H%M%S")
        fraction = float(f"0{moment[14:].partition('+')[0].partition('-')[0]}")
    except ValueError:
        return moment
    return f"{(read - datetime.datetime(1900, 1, 1)).total_seconds() + fraction:.3f}"


def why_not(traits: Sequence[str]) -> str:
    """Why a frame is no picture of anatomy, by its type; empty where it may be."""
    words: list[str] = []
    for name, value in zip(BY.names, traits, strict=True):
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
        InputError: frames that differ in a dimension are at places between one another, and
            these are no even stacks that could be separated.
    """
    for number, dimension in enumerate(BY.names):
        if dimension not in OF_SCANS:
            continue
        places: dict[str, list[float]] = {}
        for place, values in zip(along.tolist(), frames, strict=True):
            places.setdefault(values[number] if values else "", []).append(place)
        # A value of its own for each frame counts frames; it distinguishes no scans.
        if 1 < len(places) <= len(frames) // 2 and _interleave(list(places.values())):
            raise InputError(
                f"its frames are of {len(places)} {dimension}s between one another, at uneven "
                "distances: split it into one image each first"
            )


def _interleave(places: list[list[float]]) -> bool:
    ends = sorted((part[0], part[-1]) for part in places)
    shared = [min(first[1], two[1]) - two[0] for first, two in pairwise(ends)]
    lengths = [last - first for first, last in ends]
    return max(shared) > 0.5 * float(np.min(lengths)) > 0


def _framed(data: Dataset, index: int, own: Dataset, shared: Dataset) -> Framed:
    def numbers(group: str, name: str, count: int) -> tuple[float, ...] | None:
        items = [item for holder in (own, shared) for item in holder.get(group) or []]
        candidates = (floats(place, name, count) for place in (*items, data))
        return next((tuple(values) for values in candidates if values), None)

    thickness = numbers("PixelMeasuresSequence", "SliceThickness", 1)
    return Framed(
        index,
        (),
        numbers("PixelMeasuresSequence", "PixelSpacing", 2),
        numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        thickness[0] if thickness else None,
        traits((own, shared)),
    )


def _value(groups: Sequence[Dataset], group: str, name: str) -> str:
    *inner, attribute = name.split(".")
    for holder in groups:
        items = holder.get(group) or []
        for within in inner:
            items = [deeper for item in items for deeper in item.get(within) or []]
        for item in items:
            if value := text(item, attribute):
                return value
    return ""
