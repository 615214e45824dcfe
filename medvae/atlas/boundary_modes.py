"""Boundary modes: the patients' differences near a template's label boundaries, in few numbers.

Label channels matter only near the boundaries. There, a patient's difference from the template is
a smooth field within a narrow band. Its principal modes follow from a public law of smoothness and
the released template's boundaries: about a hundred, where the field on the whole grid takes a
thousand coefficients. Fewer numbers share the clip and the noise, and differences away from a
boundary, which do not move it, use none of the clip.

Sensitivity. A patient's vector holds inner products of the patient's shape channels (mean over
volumes), less the template's, with functions of the released template alone. The mechanism clips
the vector, so one patient changes the noisy mean by at most clip / N. `decode` is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.atlas.basis import Array, Basis
from medvae.atlas.shrinkage import SHARED_POWER, best_count, power_law, shrink, weights

# Public: width of the band, in units of the largest signed distance, and the power law of
# differences along it (corner in cycles per voxel). Chosen on mri_hippocampus.
WIDTH = 0.19
CORNER, SLOPE, MAX_FREQUENCY = 0.05, 5.0, 0.16
# Public: root mean square of a patient's difference from a registered template, in the same unit.
RMS = 0.1
# Limits of the functions and of the voxels that represent a band.
MAX_FUNCTIONS, MAX_POINTS = 1000, 10_000
MIN_WEIGHT = 0.02
# Modes with less power than this fraction of the strongest are left out: the band hardly shows
# them.
MIN_POWER = 1e-3


@dataclass(frozen=True)
class BoundaryModes:
    """Code of a smooth field near one boundary: J modes of norm about 1, seen at P voxels.

    Attributes:
        basis: of the field, K functions.
        points: [P, 3] voxel indices near the boundary.
        functions: [P, J] inner products with a field's values give its modes.
        fields: [K, J] coefficients of each mode's field.
        power: [J] public, falling.
        weights: [J] factor of each mode in the vector.
    """

    basis: Basis
    points: npt.NDArray[np.int64]
    functions: Array
    fields: Array
    power: Array
    weights: Array

    @classmethod
    def near(cls, proximity: Array, share: float, noise_std: float) -> BoundaryModes:
        """The modes that are worth their noise.

        Args:
            proximity: [X, Y, Z] in [0, 1], 1 on the boundary; 0 everywhere gives no modes.
            share: of the squared norm of a typical patient's vector.
            noise_std: of each coordinate of the noisy vector.
        """
        shape = proximity.shape
        assert len(shape) == 3
        basis = Basis(shape, min(MAX_FUNCTIONS, len(Basis.below(shape, MAX_FREQUENCY))))
        points = np.argwhere(proximity > MIN_WEIGHT)
        if len(points) > MAX_POINTS:
            # A random subset: a regular one could show a flat boundary at a single depth.
            points = np.random.default_rng(0).permutation(points)[:MAX_POINTS]
        band = np.sqrt(proximity[tuple(points.T)])
        band = band / max(float(np.linalg.norm(band)), 1e-12)
        std = np.sqrt(power_law(basis.frequency, CORNER, SLOPE))
        weighted = band[:, None] * basis.at(points) * std
        power, axes = np.linalg.eigh(weighted.T @ weighted)
        strong = power > MIN_POWER * max(float(power.max()), 1e-12)
        power, axes = power[strong][::-1], axes[:, strong][:, ::-1]
        law = power / max(float(power.sum()), 1e-12)
        count = best_count(law, SHARED_POWER * law, noise_std / np.sqrt(share))
        power, axes, law = power[:count], axes[:, :count], law[:count]
        return cls(
            basis,
            points,
            band[:, None] * (weighted @ axes) / np.sqrt(power),
            std[:, None] * axes / np.sqrt(power),
            law,
            np.sqrt(share) / RMS * weights(law) / np.sqrt(max(float(law.sum()), 1e-12)),
        )

    def __len__(self) -> int:
        return len(self.power)

    def encode(self, values: Array) -> Array:
        """[J] vector of a field [X, Y, Z]."""
        return np.asarray(values[tuple(self.points.T)] @ self.functions * self.weights)

    def decode(self, noisy: Array, noise_std: float) -> Array:
        """[X, Y, Z] smooth field of a noisy vector [J], shrunk for its noise std."""
        modes = shrink(noisy / self.weights, noise_std / self.weights, self.power)
        return self.basis.synthesise(self.fields @ modes)


@dataclass(frozen=True)
class LabelBoundaries:
    """Code of differences at all boundaries of a template's labels.

    Attributes:
        modes: of the union's boundary, then of the boundaries between labels (see
            `features.shape_channels`).
    """

    modes: tuple[BoundaryModes, ...]

    @classmethod
    def of(cls, shapes: Array, union: float, between: float, noise_std: float) -> LabelBoundaries:
        """The boundaries of a template's shape channels [L, X, Y, Z].

        union, between: shares of the squared norm of a vector, of the union's boundary and of all
            boundaries between labels.
        """
        others = len(shapes) - 1
        shares = [union, *[between / max(others, 1)] * others][: len(shapes)]
        bands = zip(_proximities(shapes), shares, strict=True)
        return cls(tuple(BoundaryModes.near(band, share, noise_std) for band, share in bands))

    @property
    def dimension(self) -> int:
        return sum(len(modes) for modes in self.modes)

    def encode(self, shapes: Array) -> Array:
        """[dimension] vector of differences of shape channels [L, X, Y, Z]."""
        return np.concatenate(
            [np.zeros(0), *(m.encode(s) for m, s in zip(self.modes, shapes, strict=True))]
        )

    def decode(self, noisy: Array, noise_std: float) -> list[Array]:
        """L differences [X, Y, Z] of a noisy vector, shrunk for its noise std."""
        ends = np.cumsum([len(modes) for modes in self.modes], dtype=np.int64)
        parts = np.split(noisy, ends)[: len(self.modes)]
        pairs = zip(self.modes, parts, strict=True)
        return [modes.decode(part, noise_std) for modes, part in pairs]


def _proximities(shapes: Array) -> list[Array]:
    """L bands [X, Y, Z] in [0, 1]: of the union's boundary, then of each label's within it."""
    if not len(shapes):
        return []
    bands = [_bell(shapes[0])]
    each = np.concatenate([shapes[1:], -shapes[1:].sum(axis=0, keepdims=True)])
    for label in range(len(shapes) - 1):
        others = np.delete(each, label, axis=0).min(axis=0)
        # With two labels the difference is twice the channel, since the other is its negative.
        within = shapes[0] < WIDTH
        band = _bell((each[label] - others) / 2.0) * within
        # A label that the template lacks may be anywhere in the union.
        bands.append(band if band.max() > 0.5 else within.astype(np.float64))
    return bands


def _bell(distance: Array) -> Array:
    return np.asarray(np.exp(-0.5 * (distance / WIDTH) ** 2))
