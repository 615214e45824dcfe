"""Volumes as unit vectors, which are invariant to brightness and contrast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.grid import Gridded
from medvae.progress import SILENT, Progress

Vectors = npt.NDArray[np.float32]
# Longest side in voxels: averages out noise, keeps anatomy, and a thousand patients fit in memory.
_EDGE = 24


@dataclass(frozen=True)
class Embedded:
    """A set of volumes.

    Attributes:
        boxes: [n, x, y, z] float32, smoothed and downsampled, on the model's scale. Channels are
            concatenated along the last axis.
        subjects: [n] subject of each volume.
        planar: whether they are pictures.
    """

    boxes: Vectors
    subjects: npt.NDArray[np.str_]
    planar: bool = False

    def __len__(self) -> int:
        return len(self.boxes)

    def whole(self) -> Vectors:
        """[n, d] unit vectors, without the volume's mean and contrast."""
        return _unit(self.boxes.reshape(len(self), -1))

    def mirrored(self) -> Vectors:
        """The same with left and right exchanged."""
        return _unit(self.boxes[:, ::-1].reshape(len(self), -1))

    def parts(self) -> Vectors:
        """[8, n, d]: the octants of each volume, or [4, n, d]: the quarters of each picture.

        Each is a unit vector by itself.
        """
        halves = [[slice(0, n // 2), slice(n - n // 2, n)] for n in self.boxes.shape[1:]]
        if self.planar:
            halves[2] = [slice(None)]
        cut = [self.boxes[:, x, y, z] for x in halves[0] for y in halves[1] for z in halves[2]]
        return np.stack([_unit(part.reshape(len(self), -1)) for part in cut])


def embed(pairs: Iterable[tuple[str, Gridded]], what: str, progress: Progress = SILENT) -> Embedded:
    """Embed (subject, volume) pairs; one volume is in memory at a time."""
    boxes, subjects, planar = [], [], False
    progress.start(f"reading {what} volumes", 0)
    for subject, volume in pairs:
        boxes.append(_box(volume.image))
        planar = volume.image.shape[-1] == 1
        subjects.append(subject)
        progress.advance(len(boxes))
    progress.finish()
    shape = (0, 1, 1, 1)
    stacked = np.stack(boxes) if boxes else np.zeros(shape, np.float32)
    return Embedded(stacked, np.array(subjects, dtype=np.str_), planar)


def _box(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if image.ndim == 4:
        return np.concatenate([_box(channel) for channel in image], axis=2)
    step = max(1.0, max(image.shape) / _EDGE)
    smooth = ndimage.gaussian_filter(image, 0.5 * step, mode="nearest")
    # A picture keeps its one voxel.
    zoom = [max(1 / step, 1 / n) for n in image.shape]
    small = ndimage.zoom(smooth, zoom, order=1, mode="nearest", grid_mode=True)
    return np.asarray(small, dtype=np.float32)


def _unit(vectors: Vectors) -> Vectors:
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # A constant volume or part has no direction; as 0 it is far from all others.
    unit: Vectors = np.where(length > 1e-6, centred / np.maximum(length, 1e-6), 0).astype(
        np.float32
    )
    return unit


def distances(first: Vectors, second: Vectors) -> npt.NDArray[np.float64]:
    """[n, m]: sqrt(2 - 2 r), r the correlation of each pair of unit vectors [., d]."""
    return np.sqrt(np.clip(2 - 2 * (first.astype(np.float64) @ second.T), 0, None))
