"""A volume: voxels, where they lie in the patient, and the little else that is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from medvae import modality as modalities
from medvae.errors import IntegrityError

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
    }
)


@dataclass(frozen=True)
class Volume:
    """One scan.

    Attributes:
        voxels: [X, Y, Z], int16 or float32, in the units of the modality
            (`Modality.units`). Axes point right, anterior, superior as nearly as
            the acquisition allows (oblique affines are kept, not resampled).
        affine: [4, 4] float64, voxel index to millimetres (RAS+), as in NIfTI.
        modality: the name of a registered modality.
        mask: [X, Y, Z] uint8 labels, or None.
        meta: only keys of `META_KEYS`.
    """

    voxels: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    modality: str
    mask: npt.NDArray[np.uint8] | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or 0 in self.voxels.shape:
            raise ValueError(f"voxels must be a non-empty [X, Y, Z], not {self.voxels.shape}")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("affine must be a finite [4, 4] matrix")
        modalities.get(self.modality)
        if self.mask is not None and self.mask.shape != self.voxels.shape:
            raise ValueError(f"mask {self.mask.shape} does not fit voxels {self.voxels.shape}")
        unknown = set(self.meta) - META_KEYS
        if unknown:
            raise ValueError(f"meta keys that may not be kept: {sorted(unknown)}")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each axis, in millimetres."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def category(self) -> int | None:
        """The class 0, 1, ... that the volume is of, or None."""
        found = self.meta.get("class")
        return None if found is None else int(found)

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.voxels.shape
        return x, y, z

    def with_voxels(self, voxels: npt.NDArray[Any]) -> Volume:
        """The same place and facts, other voxels of the same shape."""
        if voxels.shape != self.voxels.shape:
            raise ValueError(f"expected voxels {self.voxels.shape}, got {voxels.shape}")
        return replace(self, voxels=voxels)

    def to_bytes(self) -> bytes:
        """The form that is sealed: safetensors, with the facts as its JSON metadata."""
        tensors = {
            "voxels": np.ascontiguousarray(self.voxels),
            "affine": np.ascontiguousarray(self.affine, dtype=np.float64),
        }
        if self.mask is not None:
            tensors["mask"] = np.ascontiguousarray(self.mask, dtype=np.uint8)
        facts = json.dumps({"modality": self.modality, "meta": self.meta}, sort_keys=True)
        # One key alone: several are written in an order that changes from run to run, and
        # equal volumes must give equal bytes.
        return save_tensors(tensors, metadata={"facts": facts})

    @classmethod
    def from_bytes(cls, data: bytes) -> Volume:
        """Read back `to_bytes`.

        Raises:
            IntegrityError: the bytes are not a volume.
        """
        try:
            header_size = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + header_size])
            facts = json.loads(header["__metadata__"]["facts"])
            tensors = load_tensors(data)
            return cls(
                voxels=tensors["voxels"],
                affine=tensors["affine"],
                modality=facts["modality"],
                mask=tensors.get("mask"),
                meta=facts["meta"],
            )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"stored bytes are not a volume: {error}") from error
