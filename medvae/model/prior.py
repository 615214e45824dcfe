"""The latent prior: a Gaussian along fixed public directions, sampled, never N(0, I).

Directions are cosine functions over the latent grid, lowest frequency first; the spectrum
(what variance to expect along each) is measured on procedural volumes. Only a few numbers
along them come from patients, each through a Gaussian release made in `medvae.train`;
all here is post-processing.

What no covariance was released for is filled in at the released strength: by independent
normals, which look like haze, or by the latents of procedural volumes, whose directions
depend on one another as edges want it; or not at all, where an atlas's draws have what is not
released. None of these knows anything of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medvae.errors import IntegrityError
from medvae.model.frontend import cosine_transform

SHELLS = 8


@lru_cache(maxsize=4)
def directions(shape: tuple[int, ...]) -> Tensor:
    """The order of the cosine directions of latents [L, *G]: a permutation of all of them.

    Sorting takes longer than the transform, so orders are kept; not to be written to.

    By frequency, then by channel; so every prefix is a low-pass of all channels.
    """
    power = torch.zeros(shape, dtype=torch.float64)
    for axis, n in enumerate(shape[1:], start=1):
        view = [1] * len(shape)
        view[axis] = n
        power = power + (torch.arange(n, dtype=torch.float64) / n).square().view(view)
    return torch.argsort(power.flatten(), stable=True)


def coordinates(latents: Tensor) -> Tensor:
    """Latents [B, L, *G] to coordinates [B, D] along the ordered directions (orthonormal)."""
    shape = tuple(latents.shape[1:])
    order = directions(shape).to(latents.device)
    return cosine_transform(latents.float()).flatten(1)[:, order]


def from_coordinates(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Invert `coordinates`: [B, D] to [B, *shape]."""
    order = directions(shape).to(values.device)
    flat = torch.empty_like(values)
    flat[:, order] = values
    return cosine_transform(flat.reshape(-1, *shape), inverse=True)


def shells(dimension: int) -> Tensor:
    """Which of `SHELLS` groups of growing frequency each direction belongs to, [D] int64.

    Geometric: each shell holds about twice as many directions as the one before.
    """
    edges = dimension / 2.0 ** torch.arange(SHELLS - 1, 0, -1, dtype=torch.float64)
    return torch.bucketize(torch.arange(dimension, dtype=torch.float64), edges, right=True)


def mean_size(deviation: npt.NDArray[np.float64], clip: float, sigma: float) -> tuple[int, float]:
    """How many coordinates of a mean are released, and the clip norm of their vector; public.

    The largest number at which noise stays below the expected deviation.

    Args:
        deviation: [D] expected of each coordinate, which is sent divided by its square root.
        clip: in units of the expected norm.
        sigma: noise deviation for a clip norm of 1.
    """
    # The vector's expected square norm is the sum of deviation (weight ** 2 * deviation ** 2).
    norms = clip * np.sqrt(np.cumsum(deviation))
    noise = sigma * norms * np.sqrt(deviation)
    good = np.flatnonzero(noise <= deviation)
    d = int(good[-1]) + 1 if len(good) else 1
    return d, float(norms[d - 1])


@dataclass
class LatentPrior:
    """A mean, a full covariance on the first r directions, a deviation for each of the others.

    Attributes:
        shape: of a latent, [L, *G]; D = its product.
        mean: [D] coordinates.
        factor: [r, r] matrix F; the first r coordinates have covariance F F^T.
        deviation: [D] deviations of the others (the first r are not used).
        structure: [D] deviations of procedural volumes, to bring theirs to 1.
    """

    shape: tuple[int, ...]
    mean: Tensor
    factor: Tensor
    deviation: Tensor
    structure: Tensor

    def sample(self, normal: Tensor, procedural: Tensor | None = None) -> Tensor:
        """Latents [B, *shape]; row by row, so samples of a batch do not mix.

        Args:
            normal: [B, D] standard normals.
            procedural: [B, D] coordinates of procedural volumes, to fill the directions
                beyond the first r with (zeros: these have the mean); None: `normal` does.
        """
        rank = self.factor.shape[0]
        rest = normal if procedural is None else procedural / self.structure
        values = self.mean + rest * self.deviation
        if rank:
            # One product a row: a matrix product may round differently with the batch size.
            low = torch.stack([self.factor @ row for row in normal[:, :rank]])
            values[:, :rank] = self.mean[:rank] + low
        return from_coordinates(values, self.shape)

    def to_tensors(self) -> dict[str, Tensor]:
        """Float32 tensors, with the shape among them."""
        return {
            "shape": torch.tensor(self.shape, dtype=torch.int64),
            "mean": self.mean.float(),
            "factor": self.factor.float(),
            "deviation": self.deviation.float(),
            "structure": self.structure.float(),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], shape: tuple[int, ...]) -> LatentPrior:
        """Read back `to_tensors` for latents of a known shape.

        Raises:
            IntegrityError: tensors are missing or do not fit the shape.
        """
        if set(tensors) != {"shape", "mean", "factor", "deviation", "structure"}:
            raise IntegrityError(f"a latent prior does not consist of {sorted(tensors)}")
        size = 1
        for n in shape:
            size *= n
        rank = tensors["factor"].shape[0] if tensors["factor"].ndim == 2 else -1
        fits = (
            tuple(tensors["shape"].tolist()) == shape
            and tensors["mean"].shape == (size,)
            and tensors["deviation"].shape == (size,)
            and tensors["structure"].shape == (size,)
            and bool((tensors["structure"] > 0).all())
            and tensors["factor"].shape == (rank, rank)
            and rank <= size
        )
        if not fits:
            raise IntegrityError(f"the latent prior does not fit latents of shape {shape}")
        return cls(shape, *(tensors[k] for k in ("mean", "factor", "deviation", "structure")))
