"""Several contrasts of one subject: the same anatomy, drawn in each, with what goes together.

Place, shape and sizes of labels are one for all contrasts. Each contrast has grey values, textures
and a shading of its own, and each pair the correlation of what varies within tissues: a vessel or
a softened spot is bright in one and dark in another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from medvae.anatomy.drawing.classes import ClassRenderer
from medvae.anatomy.drawing.looks import Looks
from medvae.anatomy.drawing.observed import observe
from medvae.anatomy.drawing.pairs import (
    TOGETHER_STD,
    TOGETHER_WITHIN,
    pairs_of,
    root,
)
from medvae.anatomy.drawing.pose import OutputGrid, Pose
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.registration import Alignment
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.related import Related
from medvae.anatomy.scan import Scan
from medvae.threads import one_thread

# Kinds of figures of a contrast (see `Expected.related`); volumes are the last of them.
_KINDS: Final = 4


class ChannelRenderer:
    """`Renderer` of label maps of a whole region in several contrasts of MRI.

    Images are [C, X, Y, Z]. Figures: grey values of all contrasts, then textures and shading of
    each, then how large labels are, and the correlation of each pair of contrasts within tissues.
    """

    def __init__(self, channels: Sequence[str], renderers: Sequence[ClassRenderer]) -> None:
        """Args:
        channels: names of two or more contrasts.
        renderers: of the same anatomy in each of them.
        """
        self._channels, self._renderers = tuple(channels), tuple(renderers)
        self._pairs = pairs_of(len(channels))
        mean = renderers[0].expected.mean
        greys, sizes = len(mean.means), len(mean.volumes)
        rest = len(mean.vector) - greys - sizes
        count = len(channels)
        self._sizes = slice(count * (greys + rest), count * (greys + rest) + sizes)
        # [C, F] which figures are those of a contrast, in the order of its own renderer.
        self._own = [
            np.concatenate(
                [
                    np.arange(at * greys, (at + 1) * greys),
                    count * greys + np.arange(at * rest, (at + 1) * rest),
                    np.arange(self._sizes.start, self._sizes.stop),
                ]
            )
            for at in range(count)
        ]
        self._together = slice(self._sizes.stop, self._sizes.stop + len(self._pairs))

    @property
    def first(self) -> ClassRenderer:
        """Of the first contrast, which patients are registered by."""
        return self._renderers[0]

    @property
    def shading_std(self) -> float:
        """Public standard deviation of a shading coefficient."""
        return self.first.shading_std

    @property
    def names(self) -> Sequence[str]:
        names = [""] * self._together.start
        for channel, renderer, own in self._each():
            for at, name in zip(own, renderer.names, strict=True):
                is_common = self._sizes.start <= at < self._sizes.stop
                names[at] = name if is_common else f"{channel}: {name}"
        pairs = ((self._channels[a], self._channels[b]) for a, b in self._pairs)
        return [*names, *(f"correlation of {a} and {b} within tissues" for a, b in pairs)]

    @property
    def public_mean(self) -> Array:
        return self._joined([r.public_mean for r in self._renderers], 0.0)

    @property
    def public_std(self) -> Array:
        return self._joined([r.public_std for r in self._renderers], TOGETHER_STD)

    @property
    def public_within(self) -> Array:
        return self._joined([r.public_within for r in self._renderers], TOGETHER_WITHIN)

    @property
    def public_correlation(self) -> Array:
        return self._blocks([r.public_correlation for r in self._renderers])

    @property
    def greys_apart(self) -> int:
        return sum(renderer.greys_apart for renderer in self._renderers)

    def correlation_of(self, numbers: Numbers) -> Array:
        parts = ("figures_std", "figures_error", "figures_noise")
        blocks = []
        for _, renderer, own in self._each():
            # What is not distinguished is empty.
            part = {name: getattr(numbers, name)[..., own] for name in parts if _has(numbers, name)}
            blocks.append(renderer.correlation_of(replace(numbers, **part)))
        return self._blocks(blocks)

    @property
    def related(self) -> Related | None:
        parts = [renderer.related for renderer in self._renderers]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        # Scanners set each contrast by itself: kinds are those of one contrast.
        kinds = np.full(self._together.stop, len(parts) * _KINDS + 1)
        for at, (part, own) in enumerate(zip(known, self._own, strict=True)):
            kinds[own] = at * _KINDS + part.kinds
        kinds[self._sizes] = len(parts) * _KINDS
        return Related(self._blocks([part.covariance for part in known]), kinds)

    def of_given_labels(self, figures: Array) -> Array:
        figures = figures.copy()
        figures[self._sizes] = np.nan
        return figures

    def greys(self, figures: Array) -> Array:
        """[C, L]"""
        return np.stack([renderer.greys(figures[own]) for _, renderer, own in self._each()])

    def measure(self, scan: Scan, alignment: Alignment) -> Array:
        """NaN for what a scan of other channels lacks."""
        figures = np.full(self._together.stop, np.nan)
        if len(scan.channels) != len(self._renderers):
            return figures
        with one_thread():
            # The anatomy of a voxel does not depend on the contrast.
            observed = observe(scan, alignment, self.first.components, self.first.shares)
            seen = [
                renderer.see(observed.with_image(channel))
                for renderer, channel in zip(self._renderers, scan.channels, strict=True)
            ]
        for own, image in zip(self._own, seen, strict=True):
            figures[own] = image.looks.vector
        pairs = [seen[a].together(seen[b]) for a, b in self._pairs]
        figures[self._together] = pairs
        return figures

    def draw(
        self,
        person: int,
        pose: Pose,
        grid: OutputGrid,
        figures: Array,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        looks = [self._looks(figures, at) for at in range(len(self._renderers))]
        together = root(self._pairs, figures[self._together])
        return self.first.draw_looks(person, pose, grid, looks, together, random)

    def _looks(self, figures: Array, channel: int) -> Looks:
        return self._renderers[channel].expected.mean.like(figures[self._own[channel]])

    def _each(self) -> list[tuple[str, ClassRenderer, npt.NDArray[np.intp]]]:
        return list(zip(self._channels, self._renderers, self._own, strict=True))

    def _joined(self, vectors: Sequence[Array], together: float) -> Array:
        """[F] of the vectors of each contrast; `together` for the correlations of pairs."""
        joined = np.full(self._together.stop, together)
        for own, vector in zip(self._own, vectors, strict=True):
            joined[own] = vector
        return joined

    def _blocks(self, matrices: Sequence[Array]) -> Array:
        """[F, F] of the matrices of each contrast: of two contrasts nothing is known together."""
        joined = np.eye(self._together.stop)
        for own, matrix in zip(self._own, matrices, strict=True):
            joined[np.ix_(own, own)] = matrix
        return joined


def _has(numbers: Numbers, name: str) -> bool:
    return len(getattr(numbers, name)) > 0
