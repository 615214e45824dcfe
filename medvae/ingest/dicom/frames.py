"""The frames of one DICOM file: decoded pixels with their place and scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest.dicom import dimensions
from medvae.ingest.dicom.kinds import is_mosaic
from medvae.ingest.dicom.mosaic import tiles_of
from medvae.ingest.dicom.pixels import TOO_LARGE, check_sign, check_size, count_of, decoded, padding
from medvae.ingest.dicom.values import State, floats, groups_thousands, number, state, text
from medvae.ingest.normalise import Voxels
from medvae.modality.base import Modality

SCALE = ("RescaleSlope", "RescaleIntercept")
MAPPING = ("RealWorldValueSlope", "RealWorldValueIntercept")
# Terms of the standard for other units (PS3.3 C.8.9.1.1.3, C.11.1.1.2), fit to be shown.
OTHER_UNITS = frozenset(
    ("BQML", "CNTS", "CPS", "ED", "EDW", "HU_MOD", "MGML", "PCNT", "PCT", "Z_EFF")
)
# Functional groups that may name the unit (the latter of images that were converted).
UNITS = (
    "PixelValueTransformationSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)


@dataclass(frozen=True)
class Frame:
    """One slice.

    Attributes:
        pixels: [rows, columns], as stored.
        position: [3] of the first pixel's centre, millimetres, LPS+.
        orientation: [6], directions along a row and along a column.
        spacing: [2], between rows and between columns, millimetres.
        thickness: millimetres, or None.
        padding: lowest and highest stored value that means "outside the image", or None.
        traits: what distinguishes it from other frames (`dimensions.traits`).
        is_scaled: the header gives the slope; without one it is 1.
    """

    pixels: Voxels
    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    spacing: npt.NDArray[np.float64]
    thickness: float | None
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    traits: tuple[str, ...] = ()
    is_scaled: bool = True

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """[3], the direction slices are stacked in."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def frames_of(
    data: Dataset, most_voxels: int, modality: Modality, only: Sequence[int] | None = None
) -> Iterator[Frame]:
    """The frames of a file: one of a plain image, many of an enhanced one.

    Args:
        only: which ones; without it all.

    Raises:
        InputError: no geometry, sizes out of bounds, pixels that cannot be decoded, a scale
            that cannot be read, that the modality requires and is not there, or that leads to
            another unit than the modality's; a frame that is no picture of anatomy.
    """
    count = count_of(data)
    indices = range(count) if only is None else only
    check_size(data, len(indices), most_voxels)
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    own = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    if count > 1 and len(own) != count:
        raise InputError("it has several frames without a place for each")
    outside = padding(data)
    pixels = decoded(data, count, None if only is None or len(only) == count else only)
    check_sign(data, pixels)
    for at, index in enumerate(indices):
        groups = (own[index] if own else Dataset(), shared)
        where, traits = _Lookup(data, *groups), dimensions.traits(groups)
        if reason := dimensions.why_not(traits):
            raise InputError(reason)
        slope, intercept = where.scale(modality)
        frame = Frame(
            pixels[at if len(pixels) < count else index],
            where.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
            _directions(where.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)),
            _spacing(where.numbers("PixelMeasuresSequence", "PixelSpacing", 2)),
            where.thickness(),
            1.0 if slope is None else slope,
            intercept,
            outside,
            traits,
            slope is not None,
        )
        if is_mosaic(data):
            yield from _slices_of_mosaic(data, frame)
        else:
            yield frame


def frame_like(previous: Frame, data: Dataset, most_voxels: int) -> Frame:
    """The frame of a file that has all but its place and pixels in common with that of `previous`.

    Raises:
        InputError: as `frames_of`.
    """
    if previous.pixels.size > most_voxels:
        raise InputError(TOO_LARGE)
    pixels = decoded(data, 1)
    check_sign(data, pixels)
    where = _Lookup(data, Dataset(), Dataset())
    position = where.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    return replace(previous, pixels=pixels[0], position=position)


def _slices_of_mosaic(data: Dataset, frame: Frame) -> Iterator[Frame]:
    tiles = tiles_of(data, frame.pixels, frame.position, frame.orientation, frame.spacing)
    for pixels, position in zip(tiles.pixels, tiles.positions, strict=True):
        yield replace(frame, pixels=pixels, position=position)


class _Lookup:
    """A frame's value: its own group, then the shared one, then the image's top level."""

    def __init__(self, data: Dataset, own: Dataset, shared: Dataset) -> None:
        self._data, self._groups = data, (own, shared)

    def numbers(self, group: str, name: str, count: int) -> npt.NDArray[np.float64]:
        for place in self._places(group):
            values = floats(place, name, count)
            if values:
                return np.array(values)
            if state(place, name, count) is State.UNREADABLE:
                raise InputError(f"its {name} cannot be read: expected {count} numbers")
        raise InputError(f"its header lacks {name}, so its place in space is unknown")

    def thickness(self) -> float | None:
        """Slice thickness in mm; None where the header does not state it."""
        places = self._places("PixelMeasuresSequence")
        return next((t for place in places if (t := number(place, "SliceThickness"))), None)

    def scale(self, modality: Modality) -> tuple[float | None, float]:
        """Slope, None where it is absent or empty, and intercept, else 0. Raises InputError."""
        if not self._is_in_unit(modality):
            return self._mapped(modality)
        scales: dict[str, float] = {}
        for place in self._places("PixelValueTransformationSequence"):
            for name in SCALE:
                value = number(place, name)
                if name == "RescaleIntercept" and groups_thousands(place, name):
                    raise InputError(
                        f"its {name} {text(place, name)} is {value:g} with a decimal comma and a "
                        "thousand times that without: correct the header"
                    )
                if value is not None:
                    scales[name] = value
                elif state(place, name) is State.UNREADABLE:
                    raise InputError(f"its {name} cannot be read: expected one number")
            if scales:
                break
        for name in modality.dicom.scale:
            if name not in scales:
                raise InputError(
                    f"its header lacks {name}, so the unit of its intensities is unknown: "
                    "export it again with its rescale values"
                )
        return scales.get("RescaleSlope"), scales.get("RescaleIntercept", 0.0)

    def _is_in_unit(self, modality: Modality) -> bool:
        """Whether the rescaled numbers are in the modality's unit, as the header names it."""
        dicom = modality.dicom
        kind, kinds = dicom.unit_kind
        said = self._said(dicom.unit_keyword)
        return not dicom.unit_values or (
            said in dicom.unit_values and (not kind or self._said(kind) in kinds)
        )

    def _said(self, name: str) -> str:
        """A word of the header, upper case; converted images keep it among unassigned ones."""
        places = (place for group in UNITS for place in self._places(group))
        return next(filter(None, (text(place, name).upper() for place in places)), "")

    def _mapped(self, modality: Modality) -> tuple[float, float]:
        """Slope and intercept of a mapping of stored numbers to the modality's unit.

        Raises:
            InputError: there is none (PS3.3 C.7.6.16.2.11), so they are in another unit.
        """
        for holder in (*self._groups, self._data):
            for mapping in holder.get("RealWorldValueMappingSequence") or []:
                unit = (mapping.get("MeasurementUnitsCodeSequence") or [Dataset()])[0]
                scale = [number(mapping, name) for name in MAPPING]
                if text(unit, "CodeValue") in modality.dicom.unit_codes and None not in scale:
                    return float(scale[0] or 0.0), float(scale[1] or 0.0)
        said = self._said(modality.dicom.unit_keyword)
        named = f" ({said})" if said in OTHER_UNITS else ""
        raise InputError(
            f"its intensities are in another unit than {modality.units.words}{named}: convert "
            "it first"
        )

    def _places(self, group: str) -> Iterator[Dataset]:
        for holder in self._groups:
            items = holder.get(group)
            if items:
                yield items[0]
        yield self._data


def _directions(orientation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    row, column = orientation[:3], orientation[3:]
    lengths = np.sqrt([row @ row, column @ column])
    if np.abs(lengths - 1).max() > 0.01 or abs(row @ column) > 0.01:
        raise InputError(
            "its ImageOrientationPatient is not two directions of length 1 at right angles: the "
            "header is damaged"
        )
    return np.concatenate([row / lengths[0], column / lengths[1]])


def _spacing(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if steps.min() <= 0:
        raise InputError("its PixelSpacing is not positive, so the size of its pixels is unknown")
    return steps
