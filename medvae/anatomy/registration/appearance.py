"""The subject's own class means: what image do the class probabilities render?

Ridge least squares toward public values (Ashburner and Friston 2005, "Unified segmentation").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# The public mean of a class counts like so many mm^3 of that tissue.
RIDGE_MM3 = 1000.0
# Smallest standard deviation of a class, relative to the image's.
LEAST_STD = 0.05
# An image whose standard deviation is a smaller part of its mean is flat but for rounding.
FLAT = 1e-5


@dataclass(frozen=True)
class ClassFit:
    """Attributes: means, variances: [K] float64 of each class in the image's unit."""

    means: torch.Tensor
    variances: torch.Tensor

    def render(self, memberships: torch.Tensor) -> torch.Tensor:
        """[X, Y, Z] image of memberships [K, X, Y, Z]."""
        image: torch.Tensor = torch.tensordot(self.means.float(), memberships, dims=1)
        return image

    def precision(self, memberships: torch.Tensor) -> torch.Tensor:
        """[X, Y, Z] inverse variance of the image given the memberships."""
        variance: torch.Tensor = torch.tensordot(self.variances.float(), memberships, dims=1)
        return 1.0 / variance


def fit_classes(
    image: torch.Tensor,
    memberships: torch.Tensor,
    weight: torch.Tensor,
    public: torch.Tensor,
    voxel_volume: float,
) -> ClassFit | None:
    """Class means and variances of one image; None where it has no contrast.

    Args:
        image, weight: [X, Y, Z]; memberships: [K, X, Y, Z], all on one grid.
        public: [K] float64 public class means, up to gain and offset.
        voxel_volume: mm^3.
    """
    p, w, f = memberships.reshape(len(memberships), -1), weight.reshape(-1), image.reshape(-1)
    total = float(w.double().sum())
    if total * voxel_volume < RIDGE_MM3:
        return None
    middle = float((w * f).double().sum()) / total
    f = f - middle
    spread = float((w * f * f).double().sum()) / total
    if not spread > (FLAT * middle) ** 2:
        return None
    weighted = p * w
    gram, moment = (weighted @ p.T).double(), (weighted @ f).double()
    prior = _scaled(public, gram, moment)
    ridge = RIDGE_MM3 / voxel_volume
    eye = torch.eye(len(p), dtype=torch.float64, device=p.device)
    means = torch.linalg.solve(gram + ridge * eye, moment + ridge * prior)
    residual = (f - means.float() @ p) ** 2
    own = (weighted @ residual).double()
    mass = weighted.double().sum(dim=1)
    overall = float((w * residual).double().sum()) / total
    variances = (own + ridge * overall) / (mass + ridge)
    return ClassFit(means + middle, variances.clamp(min=LEAST_STD**2 * spread))


def _scaled(public: torch.Tensor, gram: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Public means with the gain and offset that fit best; 0 (the mean) if contrast is inverted."""
    ones = torch.ones_like(public)
    basis = torch.stack([public, ones])
    normal = basis @ gram @ basis.T
    normal[0, 0] += 1e-9 * float(normal[0, 0].abs()) + 1e-30
    right = basis @ moment
    determinant = normal[0, 0] * normal[1, 1] - normal[0, 1] * normal[1, 0]
    if not float(determinant) > 1e-9 * float(normal[0, 0] * normal[1, 1]):
        return torch.zeros_like(public)
    gain = (right[0] * normal[1, 1] - right[1] * normal[0, 1]) / determinant
    if float(gain) <= 0:
        return torch.zeros_like(public)
    offset = (right[1] - gain * normal[0, 1]) / normal[1, 1]
    return gain * public + offset
