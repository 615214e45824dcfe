"""The cosine model: what draws images from released numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medvae.cosines.basis import Array, Basis
from medvae.cosines.borders import bordered
from medvae.cosines.marginals import to_grey, to_scores
from medvae.cosines.numbers import Numbers
from medvae.cosines.planes import mixing

_RELEASED = "released."


@dataclass(frozen=True)
class CosineModel:
    """Draws images.

    Attributes:
        basis: of the grid.
        numbers: released ones, or public ones.
        released: mechanism -> its noisy vector, before anything was made of it; audits compare
            patients with it.
    """

    basis: Basis
    numbers: Numbers
    released: Mapping[str, Array] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """How many classes there are; 0 where images have none."""
        count = len(self.numbers.shares)
        return count if count > 1 else 0

    def analyse(
        self, image: npt.NDArray[np.floating], mask: npt.NDArray[np.integer] | None = None
    ) -> Array:
        """[F] coefficients of an image as statistics measure them: of its scores, where it has."""
        return self.basis.analyse(to_scores(image, self.numbers.marginals), mask)

    def image(self, coefficients: Array) -> Array:
        """Invert `analyse`, of the image alone: [X, Y, Z] or [C, X, Y, Z]."""
        return to_grey(self.basis.synthesise(coefficients), self.numbers.marginals)

    def pick(self, random: np.random.Generator) -> int | None:
        """A class, drawn as often as released; None where there are none."""
        return int(random.choice(self.classes, p=self.numbers.shares)) if self.classes else None

    def draw(
        self, random: np.random.Generator, category: int | None = None
    ) -> npt.NDArray[np.float32]:
        """`draw_labelled` without its mask."""
        return self.draw_labelled(random, category)[0]

    def draw_labelled(
        self, random: np.random.Generator, category: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8] | None]:
        """One image of a class, [X, Y, Z] or [C, X, Y, Z] within [-1, 1], and its labels [X, Y, Z].

        What is finer than the kept coefficients has the released power of its band, the released
        correlation between planes, and the signs that borders have. Each band has a gain of its
        own. Channels have the released moments of their voxels.
        """
        values = self.bordered(self.coefficients(random, category or 0))
        channels = self.channel_values(values)
        if len(self.numbers.voxels):
            matrix, shift = self.numbers.voxels[:, :-1], self.numbers.voxels[:, -1]
            channels = (np.tensordot(matrix, channels, 1).T + shift).T
        image = to_grey(channels, self.numbers.marginals)
        return np.clip(image, -1.0, 1.0).astype(np.float32), self.basis.mask(values)

    def bordered(self, coefficients: Array) -> Array:
        """[F] coefficients of one image, with borders where draws have them."""
        if not len(self.numbers.borders):
            return coefficients
        rounds = int(self.numbers.borders[0])
        return bordered(self.basis, coefficients, self.numbers.kept, rounds)

    def channel_values(self, coefficients: Array) -> Array:
        """[X, Y, Z] or [C, X, Y, Z] of the image alone: scores, or else grey values in [-1, 1]."""
        values = self.basis.synthesise(coefficients)
        return values if len(self.numbers.marginals) else np.clip(values, -1.0, 1.0)

    def coefficients(self, random: np.random.Generator, category: int) -> Array:
        """[F] coefficients of one image of a class."""
        factors = self.numbers.kept
        values = self._related(random.standard_normal(len(self.basis))) * self.spread
        values[factors] = self.roots[category] @ random.standard_normal(len(factors))
        if len(self.numbers.gains):
            normals = random.standard_normal(self.basis.bands)
            values *= np.exp(self.gain_centre + (self.gain_root @ normals)[self.basis.band])
        return np.asarray(self.numbers.means[category] + values)

    def _related(self, normals: Array) -> Array:
        """Standard normals [F], correlated between planes as released."""
        if self.mixing is None:
            return normals
        planes = normals.reshape(self.basis.planes, -1)
        return np.asarray(np.einsum("wab,bw->aw", self.mixing, planes).reshape(-1))

    @cached_property
    def mixing(self) -> Array | None:
        """[W, C, C] as `planes.mixing`; None where planes are independent."""
        return mixing(self.basis, self.numbers) if len(self.numbers.planes) else None

    @cached_property
    def spread(self) -> Array:
        """[F] standard deviation around the means of the classes."""
        return self.numbers.spread(self.basis)

    @cached_property
    def roots(self) -> list[Array]:
        """[D, D] of each class: a root of the covariance of the kept coefficients."""
        return [_root(matrix) for matrix in self.numbers.covariance]

    @cached_property
    def gain_root(self) -> Array:
        """[B, B] a root of the covariance of the logarithm of the bands' gains."""
        return _root(self.numbers.gains) / 2.0

    @cached_property
    def gain_centre(self) -> Array:
        """[F] mean logarithm of each coefficient's gain.

        Kept coefficients keep their covariance: their gain is 1 in mean square. Of finer ones the
        power was released as a logarithm: there its mean is 0.
        """
        centre = np.zeros(len(self.basis))
        factors = self.numbers.kept
        if len(self.numbers.gains):
            centre[factors] = -np.diag(self.numbers.gains)[self.basis.band[factors]] / 4.0
        return centre

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Numbers and releases by name, for a model file."""
        released = {f"{_RELEASED}{name}": values for name, values in self.released.items()}
        return {**self.numbers.to_arrays(), **released}

    @classmethod
    def read(cls, basis: Basis, arrays: Mapping[str, npt.NDArray[np.generic]]) -> CosineModel:
        """Read back `to_arrays`. KeyError where a number is missing."""
        released = {
            name.removeprefix(_RELEASED): np.asarray(values, np.float64)
            for name, values in arrays.items()
            if name.startswith(_RELEASED)
        }
        return cls(basis, Numbers.from_arrays(arrays), released)


def _root(matrix: Array) -> Array:
    """[D, D] a root of a covariance, by its eigenvectors."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
