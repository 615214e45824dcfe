"""Volumes from random processes: public by construction, unlimited, seeded.

They depend on no patient and no template, so training on them costs no privacy (Tang et al. 2023,
DP-RandP: networks that were trained on random processes transfer).
A volume is a stack of soft layers: level sets of smooth random fields (tissue classes),
warped ellipsoids (organs), tubes (vessels) and walls (cortex, septa), imaged with random
anisotropy, blur and a little noise, on the modality's value scale after `medvae.grid`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from medvae import modality as modalities
from medvae.modality.base import Procedural

Array = npt.NDArray[np.float32]
Size = tuple[int, ...]


def random_volume(size: Size, modality: str, seed: int, index: int) -> Array:
    """One volume of shape `size` in [-1, 1]; depends on the arguments alone.

    Args:
        size: voxels along each axis, two or three of them.
        modality: the name of the one whose value statistics to imitate.
        seed: of the stream.
        index: of the volume in the stream.
    """
    values = modalities.get(modality).procedural
    random = np.random.Generator(np.random.Philox(key=[seed, index]))
    field = _Fields(size, random)
    image = _levels(field, random, values)
    painters: tuple[Callable[[_Fields, np.random.Generator], Array], ...]
    painters = (_ellipsoid, _tube, _wall)
    for _ in range(random.integers(1, 6)):
        alpha = painters[random.integers(3)](field, random)
        image += alpha * (_value(random, values) - image)
    image = _scan(image, field, random, values)
    return np.clip(image, -1.0, 1.0).astype(np.float32)


def batch(size: Size, modality: str, seed: int, start: int, count: int) -> Array:
    """Volumes `start` to `start + count` of the stream as [count, 1, *size]."""
    return np.stack([random_volume(size, modality, seed, start + i) for i in range(count)])[:, None]


class _Fields:
    """Smooth random fields over one volume, all under the same random anisotropy."""

    def __init__(self, size: Size, random: np.random.Generator) -> None:
        self.size = size
        self._random = random
        stretch = np.exp(random.uniform(-0.4, 0.4, len(size)))
        # The basis is wider than the volume and shifted: its mirror symmetry stays outside.
        self._lengths = [
            float(max(n, 16)) * random.uniform(1.3, 1.8) * s
            for n, s in zip(size, stretch, strict=True)
        ]
        self._offsets = [random.uniform(2.0, 0.25 * length) for length in self._lengths]

    def __call__(self, finest: float, decay: float) -> Array:
        """A field with mean 0 and std of about 1.

        Args:
            finest: shortest half wave, in voxels.
            decay: amplitude falls with frequency to this power.
        """
        counts = [int(np.clip(length / finest, 2, 24)) for length in self._lengths]
        grids = np.meshgrid(
            *[np.arange(c) / length for c, length in zip(counts, self._lengths, strict=True)],
            indexing="ij",
            sparse=True,
        )
        square = np.zeros(counts, dtype=np.float32)
        for g in grids:
            square = square + (g * g).astype(np.float32)
        low = (1.0 / max(self._lengths)) ** 2
        values = self._random.standard_normal(counts, dtype=np.float32)
        values *= (square + low) ** (-0.5 * decay)
        values.flat[0] = 0.0
        for axis, n in enumerate(self.size):
            phase = np.pi * np.arange(counts[axis]) / self._lengths[axis]
            basis = np.cos(np.outer(np.arange(n) + self._offsets[axis], phase)).astype(np.float32)
            # The leading axis goes to the end; after all of them the order is the first again.
            values = values.reshape(counts[axis], -1).T @ basis.T
        values = values.reshape(self.size)
        values -= values.mean()
        values *= np.float32(1.0 / (_rms(values) + 1e-6))
        return np.asarray(values, dtype=np.float32)

    def coordinates(self) -> list[Array]:
        """Voxel positions along each axis about a random centre, broadcastable."""
        return [
            (np.arange(n, dtype=np.float32) - n * self._random.uniform(0.1, 0.9)).reshape(
                [-1 if i == axis else 1 for i in range(len(self.size))]
            )
            for axis, n in enumerate(self.size)
        ]


def _soft(distance: Array, width: float) -> Array:
    """1 where distance is well above 0, 0 well below, a ramp of about `width` between."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / width), dtype=np.float32)


def _rms(values: Array) -> float:
    # Not by the linear algebra library, which may add in another order on more threads.
    return float(np.sqrt(np.mean(values * values)))


def _slope(field: Array) -> float:
    """The typical change of a field from one voxel to the next."""
    axes = [axis for axis in range(field.ndim) if field.shape[axis] > 1]
    return float(np.hypot.reduce([_rms(np.diff(field, axis=axis)) for axis in axes])) + 1e-6


def _value(random: np.random.Generator, values: Procedural) -> float:
    if values.tissues:
        return float(random.choice(values.tissues) + random.normal(0.0, values.tissue_std))
    return float(random.uniform(-1.0, 1.0))


def _levels(field: _Fields, random: np.random.Generator, values: Procedural) -> Array:
    """Tissue classes: one smooth field cut at a few levels, edges about a voxel wide."""
    base = field(random.uniform(2.5, 9.0), random.uniform(1.2, 3.0))
    slope = _slope(base)
    image = np.full(field.size, _value(random, values), dtype=np.float32)
    for cut in np.sort(random.normal(0.0, 0.9, random.integers(1, 5))):
        alpha = _soft(base - np.float32(cut), slope * random.uniform(0.4, 2.0))
        image += alpha * (_value(random, values) - image)
    return image


def _ellipsoid(field: _Fields, random: np.random.Generator) -> Array:
    longest = max(3.0, 0.5 * max(field.size))
    axes = np.exp(random.uniform(np.log(2.0), np.log(longest), len(field.size)))
    square = np.zeros(field.size, dtype=np.float32)
    for x, radius in zip(field.coordinates(), axes, strict=True):
        square = square + (x / np.float32(radius)) ** 2
    distance = np.asarray((1.0 - np.sqrt(square)) * axes.min(), dtype=np.float32)
    warp = field(random.uniform(4.0, 10.0), 2.0) * random.uniform(0.0, 0.3) * axes.min()
    return _soft(np.asarray(distance + warp, dtype=np.float32), random.uniform(0.4, 1.5))


def _tube(field: _Fields, random: np.random.Generator) -> Array:
    """Where two fields are both near a level: in 3-D the neighbourhood of random curves."""
    square = np.zeros(field.size, dtype=np.float32)
    for _ in range(len(field.size) - 1):
        sheet = field(random.uniform(4.0, 9.0), random.uniform(1.5, 2.5))
        square = square + ((sheet - random.normal(0.0, 0.5)) / _slope(sheet)) ** 2
    distance = np.asarray(random.uniform(0.8, 3.0) - np.sqrt(square), dtype=np.float32)
    return _soft(distance, random.uniform(0.4, 0.8))


def _wall(field: _Fields, random: np.random.Generator) -> Array:
    sheet = field(random.uniform(3.0, 9.0), random.uniform(1.2, 2.5))
    distance = np.abs(sheet - random.normal(0.0, 0.5)) / _slope(sheet)
    return _soft(random.uniform(0.5, 2.5) - distance, random.uniform(0.4, 0.8))


def _scan(image: Array, field: _Fields, random: np.random.Generator, values: Procedural) -> Array:
    """Add the effects of a scanner: texture within tissue, shading, blur along each axis, noise."""
    texture = field(random.uniform(2.0, 4.0), random.uniform(0.5, 2.0))
    image = image + texture * random.uniform(0.0, values.texture)
    if values.shading:
        image = image + field(16.0, 2.0) * random.uniform(0.0, values.shading)
    for axis in range(image.ndim):
        sigma = random.uniform(0.0, 1.1)
        if sigma > 0.25:
            image = gaussian_filter1d(image, sigma, axis=axis, mode="nearest", truncate=2.5)
    noise = random.standard_normal(image.shape, dtype=np.float32)
    image = image + noise * np.float32(random.uniform(0.0, 0.04))
    if values.stretched:
        # As `medvae.grid.normalise` does: percentiles to the ends of the scale.
        low, high = np.percentile(image, (0.5, 99.5))
        image = (image - low) / max(high - low, 1e-3) * 2.0 - 1.0
    return np.asarray(image, dtype=np.float32)
