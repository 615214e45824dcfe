"""Grey values of one picture in layers: its labels, and the background by its quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.registration.geometry import Array

QUANTILES: Final = (0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99)
# A label of fewer voxels shows nothing of its grey values.
FEWEST = 8
# Grey values of a label vary by at least so much, on the scale of -1 to 1.
LEAST_STD = 0.01


def figure_names(labels: Sequence[str], *, absolute: bool = False) -> list[str]:
    """[2 L + Q] what each of `Layers.figures` is.

    absolute: the background keeps its own values, and has no quantiles.
    """
    return [
        *(f"mean of {name}" for name in labels),
        *(f"deviation of {name}" for name in labels),
        *(f"background, quantile {part:g}" for part in (() if absolute else QUANTILES)),
    ]


@dataclass(frozen=True)
class Layers:
    """Grey values of one picture.

    Attributes:
        means, stds: [L] of each label.
        quantiles: [Q] of what is not labelled, ascending; Q = 0 where the background keeps its
            own values (an absolute scale, as CT has).
    """

    means: Array
    stds: Array
    quantiles: Array

    @classmethod
    def measure(
        cls,
        image: npt.NDArray[np.float32],
        mask: npt.NDArray[np.uint8] | None,
        inside: npt.NDArray[np.bool_],
        labels: int,
        *,
        absolute: bool,
    ) -> Layers:
        """Layers of an image [X, Y, Z] in [-1, 1]; NaN for what it does not show.

        inside: [X, Y, Z] voxels that count as background where they are not labelled.
        """
        means, stds = np.full(labels, np.nan), np.full(labels, np.nan)
        for label in range(1, labels + 1) if mask is not None else ():
            values = image[mask == label].astype(np.float64)
            if len(values) >= FEWEST:
                means[label - 1], stds[label - 1] = values.mean(), max(values.std(), LEAST_STD)
        if absolute:
            return cls(means, stds, np.zeros(0))
        beside = image[inside if mask is None else inside & (mask == 0)]
        quantiles = np.full(len(QUANTILES), np.nan)
        if len(beside) >= FEWEST:
            quantiles = np.quantile(beside.astype(np.float64), QUANTILES)
        return cls(means, stds, quantiles)

    @classmethod
    def of(cls, figures: Array, labels: int) -> Layers:
        """Read back `figures`; deviations are positive and quantiles ascend, whatever was drawn."""
        means, stds = figures[:labels], np.maximum(figures[labels : 2 * labels], LEAST_STD)
        return cls(means, stds, np.maximum.accumulate(figures[2 * labels :]))

    @property
    def figures(self) -> Array:
        """[2 L + Q] means, deviations and quantiles."""
        return np.concatenate([self.means, self.stds, self.quantiles])

    def repaint(
        self,
        image: npt.NDArray[np.float32],
        shares: npt.NDArray[np.float32],
        target: Layers,
    ) -> npt.NDArray[np.float32]:
        """An image that has these layers with other ones.

        Args:
            image: [...] in [-1, 1].
            shares: [L, ...] part of each label in each voxel; the rest is background.
            target: the layers that it shall have. A label that this picture lacks keeps its values.
        """
        painted = self._background(image, target) * (1.0 - shares.sum(axis=0))
        for label, share in enumerate(shares):
            gain, offset = 1.0, 0.0
            if np.isfinite(self.means[label]):
                gain = float(target.stds[label] / self.stds[label])
                offset = float(target.means[label] - gain * self.means[label])
            painted += share * (gain * image + offset)
        return np.asarray(np.clip(painted, -1.0, 1.0), np.float32)

    def _background(
        self, image: npt.NDArray[np.float32], target: Layers
    ) -> npt.NDArray[np.float32]:
        if not len(self.quantiles) or not np.isfinite(self.quantiles).all():
            return image
        # Beyond the outermost quantiles a grey value moves with them.
        own = np.concatenate([self.quantiles[:1] - 2.0, self.quantiles, self.quantiles[-1:] + 2.0])
        new = target.quantiles
        new = np.concatenate([new[:1] - 2.0, new, new[-1:] + 2.0])
        own = np.maximum.accumulate(own + 1e-6 * np.arange(len(own)))
        return np.interp(image, own, new).astype(np.float32)


def shares(distances: npt.NDArray[np.float32], softness: float) -> npt.NDArray[np.float32]:
    """[L, ...] part of each label in each voxel, from signed distances; sums to at most 1."""
    shares = np.clip(0.5 - distances / (2.0 * softness), 0.0, 1.0)
    return np.asarray(shares / np.maximum(shares.sum(axis=0), 1.0), np.float32)


def nested_shares(distances: npt.NDArray[np.float32], softness: float) -> npt.NDArray[np.float32]:
    """The same of labels that reach behind those after them, each within the one before it."""
    within = np.clip(0.5 - distances / (2.0 * softness), 0.0, 1.0)
    within = np.minimum.accumulate(within, axis=0)
    within[:-1] -= within[1:]
    return np.asarray(within, np.float32)
