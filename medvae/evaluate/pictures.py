"""The extractor `medvae-thumbnail-1`: what a picture looks like from afar, for a classifier.

Twelve by twelve block means of each channel. No learning, no file, no network; the definition is
this file and must not change under its name.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NAME = "medvae-thumbnail-1"
EDGE = 12


def channels_of(image: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """[X, Y, Z] each, of an image with channels [C, X, Y, Z] or without."""
    return [image] if image.ndim == 3 else list(image)


def is_picture(image: npt.NDArray[np.float32]) -> bool:
    """Whether an image [..., X, Y, Z] has two axes of space."""
    return bool(image.shape[-1] == 1)


def thumbnail(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """[C EDGE EDGE] float64 of a picture [X, Y, 1] or [C, X, Y, 1] in [-1, 1]."""
    across, up = (_blocks(n) for n in image.shape[-3:-1])
    small = [across @ channel[..., 0].astype(np.float64) @ up.T for channel in channels_of(image)]
    return np.concatenate([channel.ravel() for channel in small])


def _blocks(count: int) -> npt.NDArray[np.float64]:
    """[EDGE, count] the part of each block that is in each pixel; rows sum to 1."""
    block = np.arange(EDGE)[:, None] * count / EDGE
    pixel = np.arange(count)[None]
    inside = np.minimum(block + count / EDGE, pixel + 1) - np.maximum(block, pixel)
    return np.asarray(np.maximum(inside, 0.0) * EDGE / count)
