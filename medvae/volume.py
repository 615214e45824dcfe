"""A volume: voxels, where they lie in the patient, and the little else that is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae import tensors
from medvae.cine import MOST_FRAMES, is_cine
from medvae.errors import IntegrityError, UsageError

# Everything of a source header that may stay with a volume. Geometry and modality have
# fields of their own; whatever is not named here is dropped by construction.
META_KEYS = frozenset(
    {
        "slice_thickness",
        "echo_time",
        "repetition_time",
        "inversion_time",
        "flip_angle",
        "field_strength",
        "kvp",
        "convolution_kernel_class",
        "age_group",
        "sex",
        "label",
        "class",
        "site",
    }
)


# Channels that one volume may have, and the length of their names.
MOST_CHANNELS = 8
LONGEST_CHANNEL = 32
# A release of few patients cannot separate more classes of them.
MAX_CLASSES = 16
# A hospital, or a scanner, as a table and a declaration name it.
SITE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"


def most_channels(channels: Sequence[str]) -> int:
    """How many channels of such names a volume may have: frames may be more."""
    return MOST_FRAMES if is_cine(channels) else MOST_CHANNELS


@dataclass(frozen=True)
class Volume:
    """One scan, or one picture: its third axis then has one voxel.

    Attributes:
        voxels: [X, Y, Z], or [C, X, Y, Z] where `channels` names them; int16 or float32, in the
            units of the modality (`Modality.units`). Axes point right, anterior, superior as
            nearly as the acquisition allows (oblique affines are kept, not resampled).
        affine: [4, 4] float64, voxel index to millimetres (RAS+), as in NIfTI.
        modality: the name of a registered modality.
        mask: [X, Y, Z] uint8 labels, or None.
        meta: only keys of `META_KEYS`.
        channels: names of the channels on the one grid, such as red, green, blue; none where
            there is one grey value a voxel.
        modalities: of each channel its modality, where they are of several (CT and PET);
            `modality` is then that of the first. None where all are of `modality`.
    """

    voxels: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    modality: str
    mask: npt.NDArray[np.uint8] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_channels()
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("affine must be a finite [4, 4] matrix")
        modalities.get(self.modality)
        if self.modalities:
            modalities.check_channels(self.modality, self.modalities, len(self.channels))
        if self.mask is not None and self.mask.shape != self.shape:
            raise ValueError(f"mask {self.mask.shape} does not fit voxels {self.shape}")
        unknown = set(self.meta) - META_KEYS
        if unknown:
            raise ValueError(f"meta keys that may not be kept: {sorted(unknown)}")

    def _check_channels(self) -> None:
        shape, channels = self.voxels.shape, self.channels
        if len(shape) != (4 if channels else 3) or 0 in shape:
            form = "[C, X, Y, Z]" if channels else "[X, Y, Z]"
            raise ValueError(f"voxels must be a non-empty {form}, not {shape}")
        if not channels:
            return
        if len(channels) != shape[0] or len(channels) > most_channels(channels):
            raise ValueError(f"{shape[0]} channels do not fit the names {channels}")
        if len(set(channels)) < len(channels) or not all(
            0 < len(name) <= LONGEST_CHANNEL and name.isprintable() for name in channels
        ):
            raise ValueError("channels need different printable names")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each axis, in millimetres."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def category(self) -> int | None:
        """The class 0, 1, ... that the volume is of, or None."""
        number = self.meta.get("class")
        return None if number is None else int(number)

    @property
    def site(self) -> str | None:
        """Where the volume was made (a hospital, a scanner), or None."""
        name = self.meta.get("site")
        return None if name is None else str(name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three axes of space."""
        x, y, z = self.voxels.shape[-3:]
        return x, y, z

    @property
    def is_cine(self) -> bool:
        """Whether the channels are the frames of a moving image (`medvae.cine`)."""
        return is_cine(self.channels)

    @property
    def grey(self) -> npt.NDArray[Any]:
        """[X, Y, Z] mean over channels; the voxels themselves where there are no channels.

        The first channel where modalities differ: values in different units have no mean.
        """
        if self.modalities:
            return np.asarray(self.voxels[0])
        return self.voxels.mean(axis=0, dtype=np.float32) if self.channels else self.voxels

    def channel(self, at: int) -> Volume:
        """One channel as a volume of its own modality, with the mask; a view of its voxels."""
        own = self.modalities[at] if self.modalities else self.modality
        return replace(self, voxels=self.voxels[at], modality=own, channels=(), modalities=())

    def single(self, purpose: str) -> npt.NDArray[Any]:
        """[X, Y, Z] the voxels of a volume with one grey value a voxel.

        purpose: begins the message ("writing NIfTI").

        Raises:
            UsageError: the volume has channels.
        """
        if self.channels:
            raise UsageError(
                f"{purpose} needs volumes with one grey value a voxel, and this one has the "
                f"channels {', '.join(self.channels)}; pictures are written as png"
            )
        return self.voxels

    def with_voxels(self, voxels: npt.NDArray[Any]) -> Volume:
        """The same place and facts, other voxels of the same shape."""
        if voxels.shape != self.voxels.shape:
            raise ValueError(f"expected voxels {self.voxels.shape}, got {voxels.shape}")
        return replace(self, voxels=voxels)

    def to_bytes(self, *, reuse: bool = False) -> memoryview:
        """The form that is sealed: safetensors, with the facts as its JSON metadata.

        Voxels are copied once, whatever the order of their axes in memory; with `reuse` not at
        all, where the volume was read from such bytes: it returns these.
        """
        arrays = {"voxels": self.voxels, "affine": self.affine.astype(np.float64, copy=False)}
        if self.mask is not None:
            arrays["mask"] = self.mask.astype(np.uint8, copy=False)
        header: dict[str, Any] = {"modality": self.modality, "meta": self.meta}
        if self.channels:
            header["channels"] = list(self.channels)
        if self.modalities:
            header["modalities"] = list(self.modalities)
        facts = json.dumps(header, sort_keys=True)
        # One key alone: several are written in an order that changes from run to run, and
        # equal volumes must give equal bytes.
        return tensors.packed(arrays, {"facts": facts}, reuse=reuse)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Volume:
        """Read back `to_bytes`.

        Args:
            data: the voxels of a volume stay where they are in bytes that may be written to.

        Raises:
            IntegrityError: the bytes are not a volume.
        """
        try:
            arrays, metadata = tensors.unpacked(data)
            facts = json.loads(metadata["facts"])
            return cls(
                voxels=arrays["voxels"],
                affine=arrays["affine"],
                modality=facts["modality"],
                mask=arrays.get("mask"),
                meta=facts["meta"],
                channels=tuple(facts.get("channels", ())),
                modalities=tuple(facts.get("modalities", ())),
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise IntegrityError(f"stored bytes are not a volume: {error}") from error
