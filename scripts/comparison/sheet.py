"""Contact sheets: slices of synthetic volumes beside real ones, labels outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from medvae.grid import Gridded

# Colour-blind safe on grey.
_LABELS = ("#FF4D4D", "#33D6D6", "#FFD24D", "#7CFF6B")


@dataclass(frozen=True)
class Slices:
    """What a contact sheet shows of some volumes.

    Attributes:
        images: [n, H, W] float32 in [-1, 1], up is up.
        masks: [n, H, W] uint8, 0 where there is none.
    """

    images: np.ndarray
    masks: np.ndarray


def slices(volumes: Sequence[Gridded], axis: int, beside: int = 0) -> Slices:
    """The slice of each volume across an axis, so many voxels beside the middle one."""
    images, masks = [], []
    for volume in volumes:
        place = volume.image.shape[axis] // 2 + beside
        image = volume.image.take(place, axis)
        mask = np.zeros_like(image) if volume.mask is None else volume.mask.take(place, axis)
        images.append(np.flipud(image.T))
        masks.append(np.flipud(mask.T))
    return Slices(np.stack(images).astype(np.float32), np.stack(masks).astype(np.uint8))


def sheet(sets: Sequence[tuple[str, Slices]], path: Path) -> None:
    """A line a set, its name at the left, labels outlined; real first."""
    columns = max(len(held.images) for _, held in sets)
    height, width = sets[0][1].images.shape[1:]
    cell = 1.15
    name_width = 1.75
    size = (name_width + columns * cell * width / height, len(sets) * cell)
    figure = plt.figure(figsize=size, facecolor="white")
    step_x = (1 - name_width / size[0]) / columns
    step_y = 1 / len(sets)
    for line, (name, held) in enumerate(sets):
        bottom = 1 - (line + 1) * step_y
        figure.text(0.01, bottom + step_y / 2, _wrapped(name), va="center", fontsize=8)
        for column, (image, mask) in enumerate(zip(held.images, held.masks, strict=True)):
            left = name_width / size[0] + column * step_x
            axis = figure.add_axes((left, bottom, step_x * 0.97, step_y * 0.97))
            axis.axis("off")
            axis.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="bicubic", aspect="auto")
            for label in range(1, int(mask.max()) + 1):
                if (mask == label).any():
                    colour = _LABELS[(label - 1) % len(_LABELS)]
                    part = (mask == label).astype(float)
                    axis.contour(part, levels=[0.5], colors=[colour], linewidths=0.8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _wrapped(name: str, most: int = 24) -> str:
    lines = [""]
    for word in name.split(" "):
        if len(lines[-1]) + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
