"""One subject as registration sees it: channels and image on the scanner's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.registration import sampling
from medvae.anatomy.registration.geometry import Array, BoxGrid, affine_points

Maps = npt.NDArray[np.float32]
# "shares": probabilities of labels; "distances": signed distances in mm, negative inside.
Kind = Literal["shares", "distances"]
# A channel of shares whose largest value is smaller shows nothing.
LEAST_SHARE = 0.05


def foreground(channels: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Where each channel shows its label, as far as the resolution shows; same shape."""
    return channels < 0 if kind == "distances" else channels > LEAST_SHARE


@dataclass(frozen=True)
class Subject:
    """What is known of a subject, on any grid: anisotropic, oblique or cut off.

    Attributes:
        affine: [4, 4] voxel index to scanner mm.
        channels: [C, X, Y, Z] the maps that the template's channels are compared with.
        image: [X, Y, Z] intensities in any unit, or None.
        inside: [X, Y, Z] False where nothing is known (beside the field of view); None: all known.
            Voxels that are not finite count as unknown too.
    """

    affine: Array
    channels: Maps
    image: Maps | None = None
    inside: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape = self.channels.shape[1:]
        for name, other in (("image", self.image), ("inside", self.inside)):
            if other is not None and other.shape != shape:
                raise ValueError(f"the {name} {other.shape} is not on the channels' grid {shape}")
        if self.channels.ndim != 4 or 0 in shape:
            raise ValueError(f"channels are [C, X, Y, Z], not {self.channels.shape}")

    @property
    def centre(self) -> Array:
        """[3] scanner mm of the middle of the grid."""
        middle = (np.asarray(self.channels.shape[1:]) - 1) / 2.0
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])

    def prepared(self, device: torch.device) -> PreparedSubject:
        """The maps on a device, and what is known of them."""
        image = [] if self.image is None else [self.image[None]]
        stacked = np.concatenate([self.channels, *image]).astype(np.float32, copy=False)
        values = torch.from_numpy(stacked).to(device)
        is_finite = torch.isfinite(values).all(dim=0)
        if self.inside is not None:
            is_finite &= torch.from_numpy(self.inside).to(device)
        if not bool(is_finite.all()):
            values = torch.where(is_finite, values, torch.zeros((), device=device))
        return PreparedSubject(self.affine, values, is_finite.float()[None], self.image is not None)


@dataclass(frozen=True)
class PreparedSubject:
    """A subject's maps on a device.

    Attributes:
        values: [C (+ 1), X, Y, Z] channels and image; 0 where unknown.
        weight: [1, X, Y, Z] 1 where known.
    """

    affine: Array
    values: torch.Tensor
    weight: torch.Tensor
    has_image: bool

    def at(self, spacing: float, blur: float) -> SubjectLevel:
        """Block means with voxels of about `spacing` mm, then a Gaussian of `blur` mm."""
        factors = sampling.factors_for(self.affine, self.values.shape[1:], spacing)
        affine = sampling.thinned_affine(self.affine, factors)
        values, weight = sampling.thin(self.values, factors), sampling.thin(self.weight, factors)
        sigma = blur / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        # Unknown voxels count for nothing in the means of their neighbours.
        share = sampling.blur(weight, sigma).clamp(min=1e-3)
        values = sampling.blur(values, sigma) / share
        return SubjectLevel(affine, sampling.side_by_side(values), weight, self.has_image)


@dataclass(frozen=True)
class SubjectLevel:
    """A subject at one resolution.

    Attributes:
        affine: [4, 4] voxel index to scanner mm.
        values: [C (+ 1), X, Y, Z] channels, and the image last where there is one.
        weight: [1, X, Y, Z] known part of each voxel, 0 to 1.
    """

    affine: Array
    values: torch.Tensor
    weight: torch.Tensor
    has_image: bool

    def shown(self, kind: Kind) -> torch.Tensor:
        """[C] 1 for channels with some foreground where the subject is known, else 0."""
        is_inside = self.weight[0] > 0
        channels = self.values[: len(self.values) - self.has_image]
        inside = foreground(channels, kind) & is_inside
        return inside.flatten(1).any(dim=1).float()

    def pull(self, to_template: Array, grid: BoxGrid) -> tuple[torch.Tensor, torch.Tensor]:
        """Values [C (+ 1), ...] and weights [...] at the voxels of a grid in the template's frame.

        to_template: [4, 4] affine, scanner mm to template mm. Weights are 0 outside the grid.
        """
        index = np.linalg.inv(self.affine) @ np.linalg.inv(to_template) @ grid.affine
        shape = self.values.shape[1:]
        scale = np.diag([*(2.0 / np.asarray(shape)), 1.0])
        scale[:3, 3] = 1.0 / np.asarray(shape) - 1.0
        where = affine_points(scale @ index, grid.shape, self.values.device)
        values = sampling.sample(self.values, where)
        weight = sampling.sample(self.weight, where)[0]
        return values, torch.where((where.abs() <= 1.0).all(dim=0), weight, 0.0)


def class_shares(
    labels: npt.NDArray[Any], affine: Array, classes: Mapping[int, int], count: int, spacing: float
) -> tuple[Maps, Array]:
    """Share of each class in voxels of about `spacing` mm: [count, X, Y, Z] and their affine.

    Args:
        labels: [X, Y, Z] whole numbers.
        affine: [4, 4] voxel index to mm.
        classes: label number -> class 0 to count - 1; other labels belong to no class.
    """
    low, high = int(labels.min()), int(labels.max())
    table = np.full(high - low + 1, count, np.int32)
    for number, index in classes.items():
        if low <= number <= high:
            table[number - low] = index
    factors = sampling.factors_for(affine, labels.shape, spacing)
    blocks = [np.arange(n) // f for n, f in zip(labels.shape, factors, strict=True)]
    shape = tuple(int(b[-1]) + 1 for b in blocks)
    plane = blocks[1][:, None] * shape[2] + blocks[2][None]
    totals = np.zeros((shape[0], shape[1] * shape[2], count + 1))
    # A slab at a time: no second copy of a large scan.
    for block, slab in zip(blocks[0], labels, strict=True):
        of_class = plane * (count + 1) + table[slab.astype(np.int64) - low]
        counted = np.bincount(of_class.ravel(), minlength=totals[block].size)
        totals[block] += counted.reshape(totals[block].shape)
    shares = totals[..., :count] / totals.sum(axis=-1, keepdims=True)
    shares = np.moveaxis(shares, -1, 0).reshape(count, *shape)
    return np.ascontiguousarray(shares, np.float32), sampling.thinned_affine(affine, factors)
