"""The section `data` of a configuration: the declared facts of a cohort, and the network's grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medvae import modality as modalities
from medvae.cine import MOST_FRAMES
from medvae.config_names import MAX_LABELS, MAX_SITES, checked_sites, label_scheme
from medvae.modality import Modality
from medvae.volume import LONGEST_CHANNEL, MAX_CLASSES, MOST_CHANNELS, SITE, most_channels

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
ChannelName = Annotated[str, Field(pattern=rf"^[A-Za-z0-9]{{1,{LONGEST_CHANNEL}}}$")]
SiteName = Annotated[str, Field(pattern=rf"^{SITE}$")]
# The usual grid of pictures.
PICTURE = (64, 64, 1)


class Section(BaseModel):
    """A section: nothing unknown is accepted, and nothing can be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    """The grid that the model sees; public constants, never measured on the data."""

    modality: str = Field(
        default="mri",
        description="What the volumes are.",
        json_schema_extra={"enum": list(modalities.names())},
    )
    size: tuple[Count, Count, Count] = Field(
        default=(32, 48, 32),
        description="Voxels of the grid along x, y, z; multiples of 8. A grid of one slice is 2D.",
    )
    spacing: tuple[Positive, Positive, Positive] | None = Field(
        default=None, description="Voxel size in mm along x, y, z; null keeps each scan's own."
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        default="crop",
        description="How a volume of another size comes onto the grid: crop keeps the size of its "
        "voxels (or data.spacing) and crops or repeats the border; pad scales the whole image "
        "evenly and repeats the border; stretch scales each axis by itself (default of pictures).",
    )
    crop: Literal["centre", "labels", "body"] = Field(
        default="centre",
        description="What the grid is centred on in a larger scan, where fit is crop: the scan's "
        "own centre, the box round its labels (of the scheme; every volume needs a mask), or the "
        "centre of what is brighter than a tenth of its scale. Decided from each scan alone.",
    )
    window: tuple[float, float] = Field(
        default=(-1000.0, 1000.0),
        description="Intensities that become -1 and 1: of CT in Hounsfield units, of PET in SUV "
        "(default there: 0 to 20). MRI has no window.",
    )
    percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5), description="MRI: percentiles of a volume that become -1 and 1."
    )
    labels: Annotated[int, Field(ge=-1, le=MAX_LABELS)] = Field(
        default=-1,
        description="How many labels of the scheme are learnt, lowest numbers first; 0 for none, "
        "-1 for all. Without any scheme, a number above 0 declares labels 1 to that number.",
    )
    channels: tuple[ChannelName, ...] = Field(
        default=(),
        max_length=MOST_FRAMES,
        description="Names of the values that a voxel has, such as t1, t2; empty for those of the "
        "data set (one grey value where it has none). Of photographs red, green and blue.",
    )
    modalities: tuple[str, ...] = Field(
        default=(),
        max_length=MOST_FRAMES,
        description="Of each channel its modality, where they are of several (ct, pet); empty for "
        "those of the data set. The first is data.modality.",
    )
    windows: dict[ChannelName, tuple[float, float]] = Field(
        default={},
        description="Of channels of several modalities: channel -> its window, in its own unit. "
        "Where one is not named, data.window is the window of channels of data.modality, and "
        "others have the usual one of their modality.",
    )
    label_scheme: dict[str, str] | None = Field(
        default=None,
        description="Number in the masks -> name; {} for none, null for what the data set "
        "declares. Voxels of other numbers are background.",
    )
    classes: Annotated[int, Field(ge=-1, le=MAX_CLASSES)] = Field(
        default=-1,
        description="How many classes (0, 1, ...) a volume can be of; 0 for none, -1 for what "
        "the data set declares. A volume of another class counts as one without.",
    )
    sites: tuple[SiteName, ...] | None = Field(
        default=None,
        max_length=MAX_SITES,
        description="Names of the hospitals or scanners whose grey values are learnt apart; [] for "
        "none, null for what the data set declares. A volume of another site counts as one "
        "without: it is in the statistics of all alone.",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        """What is not given is as usual for the modality."""
        # What is no modality is refused below, by its own key.
        if not isinstance(values, Mapping) or values.get("modality") not in modalities.names():
            return values
        modality = modalities.get(values["modality"])
        usual: dict[str, Any] = {"window": modality.window, "channels": modality.channels}
        if modality.planar:
            usual |= {"size": PICTURE, "fit": "stretch"}
        return {**usual, **values}

    @field_validator("modality")
    @classmethod
    def _known(cls, name: str) -> str:
        return modalities.usable(name).name

    @model_validator(mode="after")
    def _ordered(self) -> DataConfig:
        modality = modalities.get(self.modality)
        _check_window("data.window", self.window, modality)
        if modality.planar and self.channels != modality.channels:
            raise ValueError(
                f"data.channels of {modality.title} is {list(modality.channels)}, "
                f"not {list(self.channels)}; leave it out"
            )
        if len(self.channels) > most_channels(self.channels):
            raise ValueError(
                f"data.channels are at most {MOST_CHANNELS}, and frames (frame01, frame02, ...) at "
                f"most {MOST_FRAMES}"
            )
        if len(set(self.channels)) < len(self.channels) or len(self.channels) == 1:
            raise ValueError("data.channels needs two or more different names, or none")
        if modality.planar and self.size[2] != 1:
            raise ValueError(
                f"data.size of {modality.title} is [width, height, 1], not {list(self.size)}"
            )
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("data.percentiles must be [low, high] within 0..100")
        return self

    @model_validator(mode="after")
    def _several(self) -> DataConfig:
        if self.modalities:
            try:
                modalities.check_channels(self.modality, self.modalities, len(self.channels))
            except ValueError as error:
                raise ValueError(f"data.modalities: {error}") from error
            self.check_windows()
        return self

    @field_validator("sites")
    @classmethod
    def _apart(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else checked_sites(names)

    @field_validator("label_scheme", mode="before")
    @classmethod
    def _scheme(cls, scheme: Any) -> Any:
        return label_scheme(scheme) if isinstance(scheme, Mapping) else scheme

    @model_validator(mode="after")
    def _cropped(self) -> DataConfig:
        if self.crop != "centre" and self.fit != "crop":
            raise ValueError(f"data.crop is {self.crop}, which needs data.fit to be crop")
        if self.crop == "labels" and self.labels == 0:
            raise ValueError(
                "data.crop is labels, and data.labels is 0: learn a label, or crop body"
            )
        return self

    @model_validator(mode="after")
    def _learnable(self) -> DataConfig:
        if self.label_scheme is None:
            return self
        if len(self.label_scheme) > MAX_LABELS and self.labels not in range(MAX_LABELS + 1):
            raise ValueError(f"data.label_scheme may hold at most {MAX_LABELS} labels")
        if self.labels > len(self.label_scheme):
            raise ValueError(
                f"data.labels is {self.labels}, but data.label_scheme names "
                f"{len(self.label_scheme)}; leave data.labels out"
            )
        return self

    def check_windows(self) -> None:
        """Raises ValueError: `windows` name no channel, or one that has no such window."""
        for name, window in self.windows.items():
            if name not in self.channels:
                raise ValueError(
                    f"data.windows names {name}, and the channels are "
                    f"{', '.join(self.channels) or 'none'}"
                )
            if not self.modalities:
                raise ValueError("data.windows is for channels of several modalities: leave it out")
            kind = modalities.get(self.modalities[self.channels.index(name)])
            if not kind.scaling.absolute:
                raise ValueError(f"data.windows names {name}, and {kind.title} has no window")
            _check_window(f"data.windows of {name}", window, kind)

    @property
    def of_channels(self) -> tuple[DataConfig, ...]:
        """For each channel, the configuration of a volume of that channel alone: modality, window.

        Without channels, the configuration itself.
        """
        if not self.channels:
            return (self,)
        own = self.modalities or (self.modality,) * len(self.channels)
        return tuple(
            self.model_copy(
                update={
                    "modality": kind,
                    "window": self._window(name, kind),
                    "channels": (),
                    "modalities": (),
                    "windows": {},
                }
            )
            for name, kind in zip(self.channels, own, strict=True)
        )

    def _window(self, channel: str, kind: str) -> tuple[float, float]:
        usual = self.window if kind == self.modality else modalities.get(kind).window
        return self.windows.get(channel, usual)

    def site_number(self, name: str | None) -> int | None:
        """The place 0, 1, ... of a site among `sites`; None for none and for one beyond them."""
        sites = self.sites or ()
        return sites.index(name) if name in sites else None

    @property
    def label_numbers(self) -> tuple[int, ...]:
        """Numbers in the masks, ascending: number i stands for the model's label i + 1."""
        if not self.label_scheme:
            return tuple(range(1, max(self.labels, 0) + 1))
        numbers = tuple(int(number) for number in self.label_scheme)
        return numbers if self.labels < 0 else numbers[: self.labels]


def _check_window(key: str, window: tuple[float, float], modality: Modality) -> None:
    """Raises ValueError."""
    if not window[0] < window[1]:
        raise ValueError(f"{key} must be [low, high] with low < high")
    lowest, highest = modality.storable
    if modality.scaling.absolute and not lowest <= window[0] < window[1] <= highest:
        raise ValueError(
            f"{key} of {modality.name} is in {modality.units.symbol} and must lie "
            f"within {lowest:g} and {highest:g}"
        )
