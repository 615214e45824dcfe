"""Slices as sprites: all frames of one plane in one small PNG, for the report's viewer."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medvae.release.figures import LABEL_COLOURS, best_slice, planes_of
from medvae.release.survey import Look, grey_or_colour, slice_of
from medvae.volume import Volume

if TYPE_CHECKING:
    from PIL import Image

# Limits that keep a report at a few megabytes whatever the size of the volumes.
_FRAMES = 40
_EDGE = 160
_PIXELS = 4_000_000
_ALPHA = 110


@dataclass(frozen=True)
class Sprite:
    """One plane of one volume.

    Attributes:
        plane: "axial", "coronal" or "sagittal"; "picture" of one.
        frames: number of slices, stacked from top to bottom.
        middle: the frame to show first.
        aspect: physical width over height of a frame.
        image, overlay: data URIs (PNG); overlay is None without labels.
    """

    plane: str
    frames: int
    middle: int
    aspect: float
    image: str
    overlay: str | None


def sprites(looks: Sequence[Look]) -> list[list[Sprite]]:
    """Three sprites for each of the first looks, as many as the pixel budget allows."""
    sheets: list[list[Sprite]] = []
    spent = 0
    for look in looks:
        planes = planes_of(look.volume)
        sheets.append([_sprite(look, axis, name) for axis, name in planes.items()])
        spent += sum(_cost(look.volume, axis) for axis in planes)
        if spent + spent // len(sheets) > _PIXELS:
            break
    return sheets


def _chosen(count: int, most: int) -> npt.NDArray[np.intp]:
    """Evenly spread indices, the ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _cost(volume: Volume, axis: int) -> int:
    a, b = (min(n, _EDGE) for i, n in enumerate(volume.shape) if i != axis)
    return a * b * min(volume.shape[axis], _FRAMES)


def _sprite(look: Look, axis: int, plane: str) -> Sprite:
    volume = look.volume
    frames = _chosen(volume.shape[axis], _FRAMES)
    across, up = (volume.spacing[a] * volume.shape[a] for a in range(3) if a != axis)
    ends = look.low, look.high, look.exponent
    pictures = [_thinned(grey_or_colour(volume, axis, f, *ends)) for f in frames]
    overlay = None
    if volume.mask is not None:
        masks = [_thinned(slice_of(volume.mask, axis, int(frame))) for frame in frames]
        overlay = _overlay(np.concatenate(masks).astype(np.uint8))
    middle = best_slice(volume, axis)
    return Sprite(
        plane=plane,
        frames=len(frames),
        middle=int(np.abs(frames - middle).argmin()),
        aspect=across / up,
        image=_image(np.concatenate(pictures)),
        overlay=overlay,
    )


def _thinned(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[rows, columns, ...] of at most `_EDGE` rows and columns."""
    rows, columns = (_chosen(n, _EDGE) for n in picture.shape[:2])
    return np.asarray(picture[np.ix_(rows, columns)])


def _image(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    return _uri(Image.fromarray(pixels))


def _overlay(labels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    colours = [(0, 0, 0)]
    for colour in LABEL_COLOURS:
        colours.append((int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)))
    # More labels than colours: they repeat, the background stays clear.
    shades = np.where(labels > 0, (labels - 1) % len(LABEL_COLOURS) + 1, 0).astype(np.uint8)
    picture = Image.fromarray(shades)
    picture.putpalette([value for colour in colours for value in colour])
    return _uri(picture, transparency=bytes([0] + [_ALPHA] * len(LABEL_COLOURS)))


def _uri(picture: Image.Image, transparency: bytes | None = None) -> str:
    out = io.BytesIO()
    extra = {} if transparency is None else {"transparency": transparency}
    picture.save(out, format="PNG", **extra)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
