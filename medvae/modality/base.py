"""What a modality is: one frozen description that every stage asks, whatever was scanned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import numpy as np
import numpy.typing as npt

from medvae.errors import UsageError

Limits = tuple[float, float]


class UnknownModalityError(UsageError, ValueError):
    """A name that no modality is registered under, or of one that cannot be used yet.

    Also a `ValueError`, so that a configuration and stored bytes report it as a wrong value.
    """


class Scaling(Protocol):
    """Which intensities become -1 and 1 on the model's scale."""

    @property
    def absolute(self) -> bool:
        """Whether a grey value means the same in every volume (a fixed window)."""

    def limits(self, voxels: npt.NDArray[Any], window: Limits, percentiles: Limits) -> Limits:
        """(low, high), low < high, that become -1 and 1 in this volume.

        window, percentiles: `data.window` and `data.percentiles` of the configuration.
        """

    def public_limits(self, window: Limits) -> Limits:
        """(low, high) that -1 and 1 become in synthetic volumes; depends on no volume."""


@final
@dataclass(frozen=True)
class Units:
    """The unit of intensities, for people and for files.

    Attributes:
        symbol: short, for metric names and configuration messages ("HU").
        words: in a sentence or under an axis ("Hounsfield units").
        card: in the data-set card.
        bids: `Units` of a BIDS sidecar.
    """

    symbol: str
    words: str
    card: str
    bids: str


@final
@dataclass(frozen=True)
class HeaderNumber:
    """A number of a DICOM header that may stay with a volume, under a key of `META_KEYS`.

    Attributes:
        keyword: the attribute in a single-frame image.
        group, enhanced: the sequence and the attribute (default: the same) in an enhanced one.
    """

    key: str
    keyword: str
    group: str = ""
    enhanced: str = ""


@final
@dataclass(frozen=True)
class Dicom:
    """DICOM (PS3.3, PS3.4 B.5) in both directions.

    Attributes:
        storage: SOP class of written images.
        modality: their Modality (0008,0060).
        read: SOP classes of images that are read as this modality.
        refused: beginnings of SOP class UIDs that are not, with what such an object is.
        image_type: ImageType of written images.
        attributes: further attributes that the written object's definition asks for.
        windows: display windows beside the full range, name -> (centre, width).
        rescale_type: RescaleType of written images; empty: none is written.
        unit_keyword, unit_values: the attribute with the unit of an image that is read, and
            the values that mean this modality's unit; no values: any.
        unit_kind: an attribute that says of what kind the unit is, and its values that are meant;
            no attribute: any.
        unit_codes: codes (UCUM) of the unit in a mapping of real world values.
        scale: attributes of the intensity scale without which the unit of an image that is read
            is unknown.
        padding: intensity of pixels that are marked as padding.
        empty: no tissue has an intensity up to this one.
        numbers: numbers of the header that may stay with a volume.
        kernel: whether the class of the convolution kernel may stay too.
        spacing_between: whether SpacingBetweenSlices is written.
        index_keyword, count_keyword: attributes for an image's number in its series and for
            the length of the series; empty: none.
    """

    storage: str
    modality: str
    read: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    image_type: tuple[str, ...] = ("DERIVED", "SECONDARY")
    attributes: tuple[tuple[str, Any], ...] = ()
    windows: tuple[tuple[str, Limits], ...] = ()
    rescale_type: str = ""
    unit_keyword: str = "RescaleType"
    unit_values: frozenset[str] = frozenset()
    unit_kind: tuple[str, frozenset[str]] = ("", frozenset())
    unit_codes: frozenset[str] = frozenset()
    scale: tuple[str, ...] = ()
    padding: float = 0.0
    empty: float = 0.0
    numbers: tuple[HeaderNumber, ...] = ()
    kernel: bool = False
    spacing_between: bool = False
    index_keyword: str = ""
    count_keyword: str = ""


@final
@dataclass(frozen=True)
class Bids:
    """The Brain Imaging Data Structure in both directions.

    Attributes:
        folder: of a subject's images.
        suffixes: of image names; the first is that of a modality with a single one.
        described: what the suffixes are of, for the sentence about a wrong one.
        read: folders whose images may be of this modality.
        note: why validators must pass over the folder; empty where BIDS covers the images.
    """

    folder: str
    suffixes: tuple[str, ...]
    described: str
    read: tuple[str, ...]
    note: str = ""

    def suffix(self, name: str) -> str:
        """The suffix of image names: the only one there is, or `name`.

        Raises:
            UsageError: there are several, and `name` is not among them.
        """
        if len(self.suffixes) == 1:
            return self.suffixes[0]
        if name not in self.suffixes:
            raise UsageError(
                f"suffix {name!r} is not a BIDS suffix of {self.described}; "
                f"use one of {', '.join(sorted(self.suffixes))}"
            )
        return name


@final
@dataclass(frozen=True)
class Procedural:
    """Grey values of procedural volumes, on the scale [-1, 1].

    Attributes:
        tissues: typical values, each drawn equally often; empty: evenly spread in [-1, 1].
        tissue_std: deviation around them.
        texture: largest amplitude of texture within tissue.
        shading: largest amplitude of slow shading over the volume.
        stretched: whether the volume's own percentiles go to the ends of the scale.
    """

    tissues: tuple[float, ...] = ()
    tissue_std: float = 0.0
    texture: float = 0.15
    shading: float = 0.0
    stretched: bool = False


@final
@dataclass(frozen=True)
class TissueLimits:
    """Intensities that separate tissues without a mask, in the modality's units.

    Attributes:
        body: the body is brighter, what is round it darker.
        gas: gas in the body is darker.
        soft: of soft tissue.
        muscle: soft tissue without fat is brighter, fat darker.
        bone: bone is brighter.
        varies: by how much the intensity of the rest of the body differs from that.
    """

    body: float
    gas: float
    soft: float
    muscle: float
    bone: float
    varies: float


@final
@dataclass(frozen=True)
class Modality:
    """One modality.

    Attributes:
        name: in configurations, manifests and on the command line.
        title: in sentences.
        scaling: intensities to [-1, 1] and back.
        exponent: the part of the way from low to high is raised to it before it becomes -1 to 1;
            1: intensities are scaled linearly.
        step: what one step of the 16-bit numbers of synthetic volumes is worth, in `units`.
        intensity: how the anatomy model describes grey values: `quantiles` of each volume, or
            one absolute `distribution` for all.
        field_range: for `distribution`: (lowest, middle), in `units`. Where the window reaches
            from the one past the other, `middle` is 0 in the model's fields; else the window's
            middle is.
        window: default of `data.window`.
        tissues: what intensities say of tissues; None where they mean something else in every
            volume.
        plausible: intensities beyond these are in another unit, and are refused at ingest;
            None: all are taken.
        recognised: whether a volume with this minimum, and whole numbers or not, is of this
            modality; None: it must be said.
        limits_of_use: sentences for the card.
        planar: images are pictures: two axes of space, the third has one voxel.
        channels: names of the values that a voxel has; none: one grey value.
        called: its images, where they are not called after `title`.
        refusal: why the modality cannot be used yet; empty where it can.
    """

    name: str
    title: str
    scaling: Scaling
    units: Units
    dicom: Dicom
    bids: Bids
    procedural: Procedural
    intensity: Literal["quantiles", "distribution"]
    exponent: float = 1.0
    step: float = 1.0
    field_range: Limits = (0.0, 0.0)
    window: Limits = (-1000.0, 1000.0)
    tissues: TissueLimits | None = None
    plausible: Limits | None = None
    recognised: Callable[[float, bool], bool] | None = None
    limits_of_use: tuple[str, ...] = ()
    planar: bool = False
    channels: tuple[str, ...] = ()
    called: str = ""
    refusal: str = ""

    @property
    def noun(self) -> str:
        """What images are."""
        return "pictures" if self.planar else "volumes"

    @property
    def images(self) -> str:
        """What images are called ("MRI volumes")."""
        return self.called or f"{self.title} {self.noun}"

    @property
    def storable(self) -> Limits:
        """The lowest and the highest intensity that synthetic volumes can hold."""
        return np.iinfo(np.int16).min * self.step, np.iinfo(np.int16).max * self.step
