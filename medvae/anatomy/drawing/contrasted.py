"""Grey values of several contrasts of one subject in layers, and how contrasts go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing.layers import FEWEST, Layers
from medvae.anatomy.drawing.pairs import MOST_TOGETHER, correlation, pairs_of, root
from medvae.anatomy.registration.geometry import Array

# Where contrasts go together, each with a correlation a pair.
_WHERE: Final = ("beside the labels", "within labels")


@dataclass(frozen=True)
class Variation:
    """What varies in some part of pictures before anything is painted.

    Attributes:
        means: [C, C] covariance of mean pictures between voxels.
        rest: [C, C] the same of what is drawn round them, were it one in all contrasts.
    """

    means: Array
    rest: Array

    @classmethod
    def nothing(cls, count: int) -> Variation:
        """Of so many pictures of even grey, round which all varies alike."""
        return cls(np.zeros((count, count)), np.eye(count))

    @classmethod
    def of(
        cls,
        means: npt.NDArray[np.float32],
        deviations: npt.NDArray[np.float32],
        drawn: npt.NDArray[np.float32],
        inside: npt.NDArray[np.bool_],
        labels: npt.NDArray[np.uint8],
    ) -> Variation:
        """Of pictures [C, ...] and voxels `inside`, each round the mean of its label.

        drawn: [N, ...] what is multiplied by the deviations, in some draws. It has cells as large
            as labels, and so much of it is in the means of labels, where it is not seen.
        """
        if not inside.any():
            return cls.nothing(len(means))
        own, voxels = labels[inside], int(inside.sum())
        residual = _residual(means[:, inside], own)
        rest = np.zeros((len(means), len(means)))
        for one in drawn[:, inside]:
            varies = _residual(deviations[:, inside] * one, own)
            rest += varies @ varies.T / (voxels * len(drawn))
        return cls(residual @ residual.T / voxels, rest)

    def of_rest(self, pairs: Sequence[tuple[int, int]], wanted: Array) -> Array:
        """[P] correlations of the deviations with which whole pictures have the wanted ones."""
        total = np.sqrt(np.diag(self.means) + np.diag(self.rest))
        found = [
            (value * total[a] * total[b] - self.means[a, b]) / max(self.rest[a, b], 1e-12)
            for (a, b), value in zip(pairs, wanted, strict=True)
        ]
        return np.asarray(np.clip(found, -MOST_TOGETHER, MOST_TOGETHER))


@dataclass(frozen=True)
class Contrasted:
    """Layout of the figures of mean maps: `Layers` of each channel, then correlations of pairs.

    Attributes:
        channels: names of two or more contrasts; empty: images have no channels.
        layer_names: names of the figures of one channel.
        labels: how many labels they are of.
    """

    channels: tuple[str, ...]
    layer_names: tuple[str, ...]
    labels: int

    @property
    def count(self) -> int:
        """How many images there are."""
        return max(len(self.channels), 1)

    @property
    def own(self) -> int:
        """How many figures a channel has."""
        return len(self.layer_names)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Each two channels."""
        return pairs_of(self.count)

    @property
    def pairs_from(self) -> int:
        """The first figure that is a correlation."""
        return self.count * self.own

    @property
    def names(self) -> list[str]:
        """[F] what each figure is."""
        if not self.channels:
            return list(self.layer_names)
        own = [f"{channel}: {name}" for channel in self.channels for name in self.layer_names]
        named = [(self.channels[a], self.channels[b]) for a, b in self.pairs]
        return own + [f"correlation of {a} and {b} {place}" for place in _WHERE for a, b in named]

    def joined(self, each: Sequence[Array], together: float) -> Array:
        """[F] of the figures of each channel; `together` for all correlations."""
        return np.concatenate([*each, np.full(len(_WHERE) * len(self.pairs), together)])

    def layers(self, figures: Array) -> list[Layers]:
        """The layers of each channel."""
        each = figures[: self.pairs_from].reshape(self.count, self.own)
        return [Layers.of(own, self.labels) for own in each]

    def roots(
        self, figures: Array, varies: tuple[Variation, Variation]
    ) -> tuple[Array, Array] | None:
        """Roots [C, C] of what is independent, beside labels and within; None for one channel.

        varies: of the pictures, beside labels and within.
        """
        if not self.pairs:
            return None
        beside, within = np.split(figures[self.pairs_from :], 2)
        return (
            root(self.pairs, varies[0].of_rest(self.pairs, beside)),
            root(self.pairs, varies[1].of_rest(self.pairs, within)),
        )

    def measure(
        self,
        images: Sequence[npt.NDArray[np.float32]],
        mask: npt.NDArray[np.uint8] | None,
        inside: npt.NDArray[np.bool_],
    ) -> Array:
        """[F] of one patient's images [X, Y, Z]; NaN for what they do not show.

        inside: [X, Y, Z] voxels that count as background where they are not labelled.
        """
        each = [
            Layers.measure(image, mask, inside, self.labels, absolute=False).figures
            for image in images
        ]
        figures = self.joined(each, np.nan)
        if not self.pairs:
            return figures
        labels = np.zeros(inside.shape, np.uint8) if mask is None else mask
        for at, own in enumerate((inside & (labels == 0), labels > 0)):
            if own.sum() < FEWEST:
                continue
            first = self.pairs_from + at * len(self.pairs)
            residual = _residual(np.stack([image[own] for image in images]), labels[own])
            figures[first : first + len(self.pairs)] = [
                correlation(np.ones(len(residual[a])), residual[a], residual[b])
                for a, b in self.pairs
            ]
        return figures


def _residual(
    images: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """[C, P] voxels [C, P] less the mean of their label [P]; what is not labelled is one label."""
    residual = images.astype(np.float64)
    voxels = np.maximum(np.bincount(labels), 1)
    for own in residual:
        own -= (np.bincount(labels, own) / voxels)[labels]
    return residual
