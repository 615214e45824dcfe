"""Where patients' outlines of labels lie beside the template's: few numbers, for a border is thin.

A released template of labels is only looked at where its borders are. What patients differ by there
is a smooth field seen through a narrow band along the border: its principal modes, by a public
law of smoothness and the released template's own borders, are some hundred numbers where the
field over the whole grid takes a thousand. Fewer numbers share the clip and the noise, and
what patients differ by away from a border, which moves no border, takes none of the clip.

Sensitivity. A patient's vector holds inner products of the patient's shape channels (mean over
volumes), less the template's, with functions that depend on the released template alone; whoever
releases it clips it, so the mean moves by at most clip / N. `decode` is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medvae.atlas.basis import Array, Basis
from medvae.atlas.statistics import SHARED, best_count, power_law, shrink, weights

# Public: how far from a border it is looked at, in parts of a signed distance's reach, and the law
# of smoothness along it (waves in cycles per voxel). Chosen on mri_hippocampus.
WIDTH = 0.19
CORNER, SLOPE, FINEST = 0.05, 5.0, 0.16
# Public: root mean square of a patient's outline about a registered template's, in that reach.
RMS = 0.1
# What a border is seen through at most.
MOST_WAVES, MOST_POINTS = 1000, 10_000
LEAST_WEIGHT = 0.02
# Modes fainter than this beside the strongest are left out: seen in the band they say next to
# nothing of the field.
FAINTEST = 1e-3


@dataclass(frozen=True)
class Modes:
    """A smooth field near a border as few numbers of norm about 1, and back (J modes, P points).

    Attributes:
        basis: of the field.
        points: [P, 3] voxel indices near the border.
        functions: [P, J] what a field's values there are multiplied by and summed.
        fields: [K, J] coefficients of the smooth field of each mode.
        power: [J] public, falling.
        weights: [J] what a number is multiplied by in the vector.
    """

    basis: Basis
    points: npt.NDArray[np.int64]
    functions: Array
    fields: Array
    power: Array
    weights: Array

    @classmethod
    def near(cls, nearness: Array, part: float, noise: float) -> Modes:
        """The modes that pay for their noise.

        Args:
            nearness: [X, Y, Z] in [0, 1], 1 on the border; 0 everywhere leaves no modes.
            part: of a vector's squared norm, for a typical patient.
            noise: deviation of the released vector.
        """
        shape = nearness.shape
        assert len(shape) == 3
        basis = Basis(shape, min(MOST_WAVES, len(Basis.below(shape, FINEST))))
        points = np.argwhere(nearness > LEAST_WEIGHT)
        if len(points) > MOST_POINTS:
            # Any regular step would see a flat border at one depth alone.
            points = np.random.default_rng(0).permutation(points)[:MOST_POINTS]
        seen = np.sqrt(nearness[tuple(points.T)])
        seen = seen / max(float(np.linalg.norm(seen)), 1e-12)
        deviation = np.sqrt(power_law(basis.frequency, CORNER, SLOPE))
        through = seen[:, None] * basis.at(points) * deviation
        power, axes = np.linalg.eigh(through.T @ through)
        kept = power > FAINTEST * max(float(power.max()), 1e-12)
        power, axes = power[kept][::-1], axes[:, kept][:, ::-1]
        law = power / max(float(power.sum()), 1e-12)
        count = best_count(law, SHARED * law, noise / np.sqrt(part))
        power, axes, law = power[:count], axes[:, :count], law[:count]
        return cls(
            basis,
            points,
            seen[:, None] * (through @ axes) / np.sqrt(power),
            deviation[:, None] * axes / np.sqrt(power),
            law,
            np.sqrt(part) / RMS * weights(law) / np.sqrt(max(float(law.sum()), 1e-12)),
        )

    def __len__(self) -> int:
        return len(self.power)

    def encode(self, values: Array) -> Array:
        """[J] of a field [X, Y, Z]."""
        return np.asarray(values[tuple(self.points.T)] @ self.functions * self.weights)

    def decode(self, vector: Array, noise: float) -> Array:
        """[X, Y, Z] the smooth field of a released vector [J], shrunk for its noise deviation."""
        found = shrink(vector / self.weights, noise / self.weights, self.power)
        return self.basis.synthesise(self.fields @ found)


@dataclass(frozen=True)
class Outlines:
    """All borders of a template's labels.

    Attributes:
        modes: of the labels' union, then of the borders between them (see `features.channels`).
    """

    modes: tuple[Modes, ...]

    @classmethod
    def of(cls, shapes: Array, union: float, between: float, noise: float) -> Outlines:
        """Of a template's shape channels [L, X, Y, Z].

        union, between: parts of a vector's squared norm, of the union's border and of all
            borders between labels.
        """
        others = len(shapes) - 1
        parts = [union, *[between / max(others, 1)] * others][: len(shapes)]
        return cls(
            tuple(Modes.near(n, p, noise) for n, p in zip(_nearness(shapes), parts, strict=True))
        )

    @property
    def dimension(self) -> int:
        return sum(len(mode) for mode in self.modes)

    def encode(self, shapes: Array) -> Array:
        """[dimension] of differences of shape channels [L, X, Y, Z]."""
        return np.concatenate(
            [np.zeros(0), *(m.encode(s) for m, s in zip(self.modes, shapes, strict=True))]
        )

    def decode(self, vector: Array, noise: float) -> list[Array]:
        """L differences [X, Y, Z] from a released vector."""
        ends = np.cumsum([len(mode) for mode in self.modes], dtype=np.int64)
        parts = np.split(vector, ends)[: len(self.modes)]
        return [mode.decode(p, noise) for mode, p in zip(self.modes, parts, strict=True)]


def _nearness(shapes: Array) -> list[Array]:
    """L times [X, Y, Z] in [0, 1]: near the union's border, near each label's within the union."""
    if not len(shapes):
        return []
    found = [_bell(shapes[0])]
    each = np.concatenate([shapes[1:], -shapes[1:].sum(axis=0, keepdims=True)])
    for label in range(len(shapes) - 1):
        others = np.delete(each, label, axis=0).min(axis=0)
        # Of two labels the difference is twice the channel, the others' as much.
        within = shapes[0] < WIDTH
        near = _bell((each[label] - others) / 2.0) * within
        # A label that the template lacks may be anywhere in the union.
        found.append(near if near.max() > 0.5 else within.astype(np.float64))
    return found


def _bell(distance: Array) -> Array:
    return np.asarray(np.exp(-0.5 * (distance / WIDTH) ** 2))
