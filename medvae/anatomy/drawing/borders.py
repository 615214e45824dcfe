"""How much of what varies within a tissue is its borders: voxels that show other tissues, too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.collection import PersonMaps
from medvae.anatomy.drawing.components import Components
from medvae.anatomy.drawing.soft import SoftLabels
from medvae.anatomy.registration.geometry import Array, affine_points

# A voxel with more air than this, and less than all but this, is an edge of the body.
EDGE = 0.05


class Borders:
    """What grey values alone make vary within the tissues of label maps."""

    def __init__(
        self, components: Components, people: Sequence[PersonMaps], spacing: float
    ) -> None:
        """spacing: of the voxels that are looked at, in mm."""
        count = len(components.names)
        to_classes = torch.from_numpy(components.to_classes())
        voxels, shift = np.zeros(count), np.zeros((count, count))
        square = np.zeros((count, count, count))
        for person in people:
            soft = SoftLabels(components.maps(person), person.affine, len(components))
            points = _points(person, spacing)
            label, mixed = soft.at(points)
            pure = label[label != 255].long()
            of_class = torch.from_numpy(components.classes)[pure]
            voxels += np.bincount(of_class.numpy(), minlength=count)
            shares = soft.mixtures(points[:, mixed]) @ to_classes.T
            # The measurement of grey values separates edges of the body itself.
            shares = shares[(shares[:, 0] < EDGE) | (shares[:, 0] > 1.0 - EDGE)]
            tissue = shares.argmax(dim=1)
            for at in range(count):
                off = shares[tissue == at]
                off[:, at] -= 1.0
                voxels[at] += len(off)
                shift[at] += off.sum(dim=0).numpy()
                square[at] += (off.T @ off).numpy()
        self._shift = shift / np.maximum(voxels, 1.0)[:, None]
        self._square = square / np.maximum(voxels, 1.0)[:, None, None]

    def variances(self, means: Array) -> Array:
        """[K] variance within each tissue, for grey values [K]."""
        squares = np.einsum("kij,i,j->k", self._square, means, means)
        return np.asarray(np.maximum(squares - (self._shift @ means) ** 2, 0.0))


def _points(person: PersonMaps, spacing: float) -> torch.Tensor:
    """[3, P] mm, one a voxel of `spacing` mm along the person's own axes."""
    steps = np.maximum(np.round(spacing / np.array(person.spacing)), 1.0)
    shape = [int(n // step) for n, step in zip(person.labels.shape, steps, strict=True)]
    affine: npt.NDArray[np.float64] = person.affine @ np.diag([*steps, 1.0])
    x, y, z = shape
    return affine_points(affine, (x, y, z), torch.device("cpu")).flatten(1)
