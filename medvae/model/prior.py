"""The latent prior: a Gaussian along fixed public directions, never N(0, I).

Directions are cosine functions over the latent grid, lowest frequency first. Their expected
variance is measured on procedural volumes. A few coefficients come from patients, through Gaussian
mechanisms in `medvae.train`; this module is post-processing.

Directions without a released covariance get a residual at the released scale: independent normals,
which look like haze; or latents of procedural volumes, whose directions are correlated like those
of edges; or none, if atlas samples supply it. No residual depends on a patient.
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
    """Order of the cosine directions of latents [L, *G], as a permutation; read-only.

    By frequency, then by channel, so every prefix is a low-pass of all channels. Cached, because
    sorting takes longer than the transform.
    """
    power = torch.zeros(shape, dtype=torch.float64)
    for axis, n in enumerate(shape[1:], start=1):
        view = [1] * len(shape)
        view[axis] = n
        power = power + (torch.arange(n, dtype=torch.float64) / n).square().view(view)
    return torch.argsort(power.flatten(), stable=True)


def coordinates(latents: Tensor) -> Tensor:
    """Coordinates [B, D] of latents [B, L, *G] along the ordered directions (orthonormal)."""
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
    """[D] int64 shell of each direction, out of `SHELLS` of growing frequency.

    Each shell holds about twice as many directions as the one before.
    """
    edges = dimension / 2.0 ** torch.arange(SHELLS - 1, 0, -1, dtype=torch.float64)
    return torch.bucketize(torch.arange(dimension, dtype=torch.float64), edges, right=True)


def mean_size(std: npt.NDArray[np.float64], clip: float, sigma: float) -> tuple[int, float]:
    """Number of measured coordinates of a mean, and the clip norm of their vector; public.

    The largest number at which the noise std is below the expected one.

    Args:
        std: [D] expected std of each coordinate; the vector holds coordinates over its square root.
        clip: in units of the expected norm.
        sigma: noise std for a clip norm of 1.
    """
    # The vector's expected squared norm is the sum of weight ** 2 * std ** 2, that is of std.
    norms = clip * np.sqrt(np.cumsum(std))
    noise_std = sigma * norms * np.sqrt(std)
    measurable = np.flatnonzero(noise_std <= std)
    d = int(measurable[-1]) + 1 if len(measurable) else 1
    return d, float(norms[d - 1])


@dataclass
class LatentPrior:
    """A mean, a full covariance on the first r directions, and a std for each of the others.

    Attributes:
        shape: of a latent, [L, *G]; D = its product.
        mean: [D] coordinates.
        factor: [r, r] matrix F; the first r coordinates have covariance F F^T.
        std: [D] standard deviations of the others (the first r are not used).
        structure: [D] standard deviations of procedural volumes, which scale theirs to 1.
    """

    shape: tuple[int, ...]
    mean: Tensor
    factor: Tensor
    std: Tensor
    structure: Tensor

    def sample(self, normal: Tensor, residual: Tensor | None = None) -> Tensor:
        """Latents [B, *shape], row by row: a sample does not depend on others of its batch.

        Args:
            normal: [B, D] standard normals.
            residual: [B, D] coordinates of procedural volumes for the directions beyond the first
                r (zeros: these directions have their mean); None: `normal`.
        """
        rank = self.factor.shape[0]
        scaled = normal if residual is None else residual / self.structure
        values = self.mean + scaled * self.std
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
            "deviation": self.std.float(),
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
