"""What a subject is registered to: public or released maps on a box in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.registration import sampling
from medvae.anatomy.registration.geometry import Array, Box, BoxGrid
from medvae.anatomy.registration.subject import Kind, Maps


@dataclass(frozen=True)
class Appearance:
    """How classes look: the subject's image is compared with what they render.

    Attributes:
        memberships: [K, X, Y, Z] probability of each class; they sum to 1.
        means: [K] public class means, in any unit (a gain and an offset are fitted).
    """

    memberships: Maps
    means: Array


@dataclass(frozen=True)
class Template:
    """Channels on a grid that fills a box.

    Attributes:
        box: the template's frame, in mm.
        channels: [C, X, Y, Z] maps, compared with the subject's channels one by one.
        kind: "shares": probabilities of labels; "distances": signed distances in mm.
        stds: [C] standard deviation by which a subject's channel differs from a channel that is
            in its place, in the channel's unit.
        appearance: classes that render an image; None: images are not compared.
    """

    box: Box
    channels: Maps
    kind: Kind
    stds: npt.NDArray[np.float64]
    appearance: Appearance | None = None

    def __post_init__(self) -> None:
        if len(self.stds) != len(self.channels) or not (np.asarray(self.stds) > 0).all():
            raise ValueError("a template has one positive standard deviation a channel")
        maps = None if self.appearance is None else self.appearance.memberships
        if maps is not None and maps.shape[1:] != self.channels.shape[1:]:
            raise ValueError("memberships and channels of a template must have one grid")

    @property
    def grid(self) -> BoxGrid:
        """The grid of the channels."""
        x, y, z = self.channels.shape[1:]
        return BoxGrid(self.box, (x, y, z))

    def at(self, spacing: float, blur: float, device: torch.device) -> TemplateLevel:
        """The maps with voxels of at most `spacing` mm, blurred by a Gaussian of `blur` mm."""
        grid = self.box.grid(spacing)
        channels = _resample(self.channels, self.grid, grid, blur, device)
        classes = None
        if self.appearance is not None:
            classes = _resample(self.appearance.memberships, self.grid, grid, blur, device)
        return TemplateLevel(grid, channels, classes)


@dataclass(frozen=True)
class TemplateLevel:
    """A template at one resolution."""

    grid: BoxGrid
    channels: torch.Tensor
    memberships: torch.Tensor | None


def _resample(
    maps: Maps, own: BoxGrid, grid: BoxGrid, blur: float, device: torch.device
) -> torch.Tensor:
    values = torch.from_numpy(maps.astype(np.float32, copy=False)).to(device)
    spacing = max(grid.spacing)
    factors = sampling.factors_for(own.affine, own.shape, spacing)
    affine = sampling.thinned_affine(own.affine, factors)
    values = sampling.thin(values, factors)
    values = sampling.blur(values, blur / np.diag(affine)[:3])
    if values.shape[1:] == grid.shape:
        return sampling.side_by_side(values)
    # Thinned blocks may stick out of the box by part of a voxel.
    size = np.diag(affine)[:3] * np.asarray(values.shape[1:])
    low = affine[:3, 3] - np.diag(affine)[:3] / 2.0
    thinned = Box((low[0], low[1], low[2]), (size[0], size[1], size[2]))
    where = sampling.box_coordinates(grid.centres(device), thinned)
    return sampling.sample(values, where)
