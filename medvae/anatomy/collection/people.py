"""The labels and the image of one public person, as the library keeps them."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from medvae.errors import IntegrityError


@dataclass(frozen=True)
class PersonMaps:
    """Attributes:
    labels: [X, Y, Z] int16 numbers of the entry's label scheme; 0 is the background.
    affine: [4, 4] voxel index to mm, axes closest to RAS+.
    image: [X, Y, Z] int16 or float32 intensities, or None in an entry of label maps.
    """

    labels: npt.NDArray[np.int16]
    affine: npt.NDArray[np.float64]
    image: npt.NDArray[Any] | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """[3] mm of the middle of the grid."""
        middle = (np.asarray(self.labels.shape) - 1) / 2.0
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])

    def to_bytes(self) -> bytes:
        """Compressed safetensors; equal maps give equal bytes."""
        tensors: dict[str, npt.NDArray[Any]] = {
            "labels": np.ascontiguousarray(self.labels, np.int16),
            "affine": np.ascontiguousarray(self.affine, np.float64),
        }
        if self.image is not None:
            tensors["image"] = np.ascontiguousarray(self.image)
        return gzip.compress(save(tensors), compresslevel=2, mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> PersonMaps:
        """Read back `to_bytes`.

        Raises:
            IntegrityError: the bytes are not such maps.
        """
        try:
            tensors = load(gzip.decompress(data))
            return cls(tensors["labels"], tensors["affine"], tensors.get("image"))
        except (OSError, EOFError, zlib.error, SafetensorError, KeyError) as error:
            raise IntegrityError("a person of the anatomy library cannot be read") from error
