"""What voxels say of themselves: a label map, a phase map, intensities in another unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.errors import InputError
from medvae.ingest.normalise import finite

Voxels = npt.NDArray[Any]

# How few values an image of a few voxels has says nothing.
LEAST_VOXELS = 512
CONSTANT = "all its voxels have the same value, so it shows nothing: leave it out"
# No scanner gives so few grey values; a label map of more is known by its flat regions.
FEW_VALUES = 8
# Masks that were named as such may be as noisy as a person likes, up to so many labels.
MANY_LABELS = 16
MOST_LABELS = 256
# Part of neighbours inside the body that are equal. Measured: label maps of hearts, heads and
# hippocampi .76 to .99, images of the same .003 to .30.
FLAT = 0.5
# CT: air is -1000 HU; what is lower is padding, which has one value.
AIR = -1100.0
MOST_BELOW_AIR = 0.05
TISSUE = -200.0
LEAST_RANGE_HU = 50.0
# From air to bone.
LEAST_DEPTH_HU = 1200.0
# Standardised uptake values and normalised MRI are both fractions in this range.
SUV_LIKE = (1.0, 100.0)
PHASE_EDGE = 0.02
# Grey values that are scaled to 0..1 reach their maximum in few voxels.
FULL, MANY_FULL = 0.98, 0.02
# Of the largest magnitude: what is below minus this is negative; of all voxels: so many are many.
NEGATIVE, MANY_NEGATIVE = 0.05, 0.01
# Of unsigned 16 bits, numbers below 0 are the last quarter; magnitudes thin out before the middle.
WRAPPED, END = (16384.0, 49152.0), 65536.0
# A scan of many values shows them in few slices.
_EACH = 16
# Floating numbers that are read in the wrong byte order are nearly always beyond these.
LEAST_MAGNITUDE, MOST_MAGNITUDE = 1e-12, 1e12


def is_label_map(voxels: Voxels) -> bool:
    """Whether voxels [X, Y, Z] are labels: whole numbers that are few or lie in flat regions.

    Flat regions alone say nothing where numbers are below 0, as labels never are: phantoms and
    simulated CT have them, too.
    """
    if voxels.dtype.kind not in "iu" or _distinct(voxels[::_EACH]) > MOST_LABELS:
        return False
    count = _distinct(voxels)
    if count <= FEW_VALUES:
        return True
    return count <= MOST_LABELS and voxels.min() >= 0 and _flatness(voxels) >= FLAT


def is_negative(voxels: Voxels) -> bool:
    """Whether many voxels are clearly below 0; interpolation leaves a few that hardly are."""
    inside = finite(voxels)
    edge = NEGATIVE * float(np.abs(inside).max())
    return float(np.mean(inside < -edge)) > MANY_NEGATIVE


def is_fraction(voxels: Voxels) -> bool:
    """Whether voxels are fractions of which many are full: a probability, a resampled mask."""
    if voxels.dtype.kind != "f" or not 0 <= np.nanmin(voxels) <= np.nanmax(voxels) <= 1:
        return False
    inside = voxels[voxels > 0]
    return inside.size > 0 and float(np.mean(inside >= FULL * inside.max())) > MANY_FULL


def check_labels(labels: Voxels) -> None:
    """Refuse an image that was given as a mask.

    Raises:
        InputError: many values that change from voxel to voxel, as grey values do.
    """
    count = _distinct(labels)
    if count > MANY_LABELS and _flatness(labels) < FLAT:
        raise InputError(
            f"it is an image, not a mask: it holds {count} values that change from voxel to voxel"
        )


def clear(voxels: Voxels) -> bool:
    """Make voxels NaN that are not finite, in place; whether there were any."""
    if voxels.dtype.kind != "f":
        return False
    finite = np.isfinite(voxels)
    if finite.all():
        return False
    voxels[~finite] = np.nan
    return True


def check_scan(voxels: Voxels) -> None:
    """Refuse what is no scan by its voxels.

    Raises:
        InputError: a label map, one value in every voxel, or numbers that no scanner gives.
    """
    largest = float(max(abs(np.nanmin(voxels)), abs(np.nanmax(voxels))))
    if largest > MOST_MAGNITUDE or 0 < largest < LEAST_MAGNITUDE:
        raise InputError(
            f"its intensities are of the size of {largest:.0e}, which no scanner gives: its byte "
            "order or its scale is wrong"
        )
    if voxels.size < LEAST_VOXELS:
        return
    if voxels.min() == voxels.max():
        raise InputError(CONSTANT)
    if is_label_map(voxels):
        raise InputError(
            "it is a label map, not a scan: name it after its scan (x_seg.nii.gz beside "
            "x.nii.gz), put it into labels/ beside images/, or give its folder with --labels"
        )


def check_wrapped(voxels: Voxels, extremes: tuple[float, float]) -> None:
    """Refuse numbers below 0 that were stored as large ones: none lie between them and the others.

    Args:
        extremes: `normalise.ends` of the voxels.

    Raises:
        InputError: several values are near the end of 16 bits, and none is in the middle.
    """
    if not (extremes[0] >= 0 and WRAPPED[1] < extremes[1] < END):
        return
    inside = finite(voxels)
    if ((inside >= WRAPPED[0]) & (inside < WRAPPED[1])).any():
        return
    if np.unique(inside[inside >= WRAPPED[1]]).size > 1:
        raise InputError(
            f"its intensities run from {extremes[0]:g} to {extremes[1]:g} and none is between "
            f"{WRAPPED[0]:g} and {WRAPPED[1]:g}, as where numbers below 0 are called unsigned: "
            "correct its header"
        )


def check_ct(voxels: Voxels, extremes: tuple[float, float]) -> bool:
    """Whether a CT image reaches below soft tissue, as Hounsfield units nearly always do.

    Args:
        extremes: `normalise.ends` of the voxels.

    Raises:
        InputError: the numbers cannot be Hounsfield units.
    """
    low, high = extremes
    if high - low < LEAST_RANGE_HU:
        raise InputError(
            f"its intensities run from {low:g} to {high:g}, which cannot be Hounsfield units: "
            "convert it back to them first"
        )
    if low < AIR and _below_air(finite(voxels)) > MOST_BELOW_AIR:
        raise InputError(
            f"its intensities run from {low:g} to {high:g} and many are below air (-1000), which "
            "cannot be Hounsfield units; it may be a phase map"
        )
    return low < TISSUE


def guess_modality(voxels: Voxels) -> str:
    """The modality from the numbers alone, where they are decisive (`Modality.recognised`).

    Raises:
        InputError: no modality or more than one recognises the numbers as its own.
    """
    inside = finite(voxels)
    low, high = float(inside.min()), float(inside.max())
    whole = voxels.dtype == np.int16
    fitting = [
        modality.name
        for modality in modalities.registered()
        if modality.recognised is not None and modality.recognised(low, whole)
    ]
    why = ""
    if _is_phase(low, high):
        fitting, why = [], " (they run from -pi to pi, as a phase map's do)"
    elif not whole and low >= 0 and SUV_LIKE[0] < high <= SUV_LIKE[1]:
        fitting, why = [], f" (fractions from {low:g} to {high:g} may be MRI or uptake values)"
    elif fitting == ["ct"] and _below_air(inside) > MOST_BELOW_AIR:
        fitting, why = [], f" (they run from {low:g} to {high:g}, as a phase map's may)"
    if len(fitting) != 1:
        raise InputError(
            f"its numbers do not say what it is{why}: give --modality, one of "
            + ", ".join(modalities.names())
        )
    return fitting[0]


def _is_phase(low: float, high: float) -> bool:
    ends = (-np.pi, np.pi)
    return all(
        abs(value - end) <= PHASE_EDGE * np.pi for value, end in zip((low, high), ends, strict=True)
    )


def _below_air(inside: Voxels) -> float:
    """The part of voxels below air, the most frequent value there (padding) left out."""
    below = inside[inside < AIR]
    if not below.size:
        return 0.0
    _, counts = np.unique(np.rint(below), return_counts=True)
    return float(below.size - counts.max()) / inside.size


def _distinct(voxels: Voxels) -> int:
    if voxels.dtype.itemsize > 2:
        return int(np.unique(voxels).size)
    return int(np.count_nonzero(_counts(voxels)))


def _counts(voxels: Voxels) -> npt.NDArray[np.int64]:
    """How often each value occurs, from the lowest on; of whole numbers of at most 16 bits."""
    low = int(voxels.min())
    counts = np.zeros(int(voxels.max()) - low + 1, np.int64)
    # Along the axis of the longest steps, so that each slab is near in memory.
    for slab in np.moveaxis(voxels, int(np.argmax(np.abs(voxels.strides))), 0):
        counts += np.bincount(slab.ravel(order="K").astype(np.int64) - low, minlength=counts.size)
    return counts


def _flatness(voxels: Voxels) -> float:
    """The part of neighbours that are equal, of those that are not the most frequent value."""
    background = int(voxels.min()) + int(_counts(voxels).argmax())
    pairs = same = 0
    # A slab and the next at a time: no second copy of a large scan.
    for index, slab in enumerate(voxels):
        inside = slab != background
        neighbours = [(slab[1:], slab[:-1]), (slab[:, 1:], slab[:, :-1])]
        masks = [inside[1:] & inside[:-1], inside[:, 1:] & inside[:, :-1]]
        if index:
            neighbours.append((slab, voxels[index - 1]))
            masks.append(inside & (voxels[index - 1] != background))
        for (first, other), counted in zip(neighbours, masks, strict=True):
            pairs += int(np.count_nonzero(counted))
            same += int(np.count_nonzero(counted & (first == other)))
    return same / pairs if pairs else 0.0
