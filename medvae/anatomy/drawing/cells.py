"""What fills a picture where nothing is known of it: cells of even grey, of several sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from medvae.anatomy.drawing.texture import field
from medvae.anatomy.registration.geometry import Array

# Size of the cells as a part of the edge, and their part of the amplitude: from organs to vessels.
SIZES = ((0.6, 0.8), (0.3, 0.5), (0.12, 0.25))
# Grain within the cells: width as a part of the edge, and amplitude.
GRAIN = (0.02, 0.15)
# How far cells are stretched along random axes (deviation of the logarithm), and how much their
# borders waver: kernel and amplitude as parts of their size.
STRETCH, WAVERS = 0.35, ((0.5, 0.25), (0.15, 0.1))
FEWEST = 8


def cells(
    shape: tuple[int, int, int],
    spacing: Array,
    edge: float,
    random: np.random.Generator,
    count: int = 1,
) -> npt.NDArray[np.float32]:
    """[C, X, Y, Z] of variance about 1, without any patient; edge: of the box, in mm.

    count: of images. Their cells have the same borders, and grey values that are independent.
    """
    grain = [field(shape, spacing, GRAIN[0] * edge, random) for _ in range(count)]
    total = GRAIN[1] * np.stack(grain)
    power = GRAIN[1] ** 2
    for size, amplitude in SIZES:
        total += np.float32(amplitude) * _cells(shape, spacing, size * edge, random, count)
        power += amplitude**2
    return np.asarray(total / np.float32(np.sqrt(power)), np.float32)


def _cells(
    shape: Sequence[int], spacing: Array, size: float, random: np.random.Generator, images: int
) -> npt.NDArray[np.float32]:
    """[C, X, Y, Z] cells of about `size` mm, each of one normal value an image."""
    extent = np.asarray(shape) * spacing
    # Seeds also beside the box, so that cells at its border are like the others.
    count = max(FEWEST, int(np.prod(extent + size) / size**3))
    seeds = random.random((count, 3)) * (extent + size) - size / 2.0
    values = random.standard_normal((images, count)).astype(np.float32)
    points = np.stack(
        np.meshgrid(
            *[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
        ),
        axis=-1,
    )
    x, y, z = shape
    for width, amplitude in WAVERS:
        for axis in range(3):
            wave = field((x, y, z), spacing, width * size, random)
            points[..., axis] += amplitude * size * wave
    axes = np.linalg.qr(random.standard_normal((3, 3)))[0]
    stretched = axes * np.exp(STRETCH * random.standard_normal(3))
    _, nearest = cKDTree(seeds @ stretched).query(points.reshape(-1, 3) @ stretched)
    return np.asarray(values[:, nearest].reshape(images, *shape))
