"""Patients as coordinates of their latents, from the template where there is an atlas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from medvae.atlas import Atlas
from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.model import VAE
from medvae.model.prior import coordinates
from medvae.model.procedural import random_volume
from medvae.train.prior_fit import PublicScale, banded
from medvae.train.public import MEASURE_STREAM, grid_size, measure_count

# Coordinates are kept between the passes of the prior up to this many bytes.
KEEP = 1 << 30


class Codes:
    """Calls give a patient's coordinates [volumes, D]; private, and gone with the object."""

    def __init__(
        self,
        model: VAE,
        atlas: Atlas | None,
        volumes: Callable[[int], list[Gridded]],
        cfg: RunConfig,
    ) -> None:
        self._model = model
        self._atlas = atlas
        self._volumes = volumes
        self._cfg = cfg
        self._size = grid_size(cfg)
        with torch.no_grad():
            empty = torch.zeros(1, *model.latent_shape(self._size))
            self.shape = tuple(model.canvas(empty.to(self._device)).shape[1:])
        self._kept: dict[int, Tensor] = {}
        self._bytes = 0

    def __call__(self, index: int) -> Tensor:
        if index in self._kept:
            return self._kept[index]
        rows = [self._code(volume) for volume in self._volumes(index)]
        # A patient without volumes counts as zero; NaN would be dropped by the release too.
        found = torch.stack(rows) if rows else torch.full((1, self._dimension), torch.nan)
        if self._bytes + found.numel() * 4 <= KEEP:
            self._kept[index] = found
            self._bytes += found.numel() * 4
        return found

    def public(self) -> PublicScale:
        """The scale of coordinates: on atlas samples where there is an atlas, else procedural."""
        count = measure_count(self._size)
        images = (self._procedural(i) for i in range(count))
        structure = banded(torch.stack([self._encode(image) for image in images]))
        if self._atlas is None:
            return PublicScale(structure, np.zeros(self._dimension), structure)
        reference = self._encode(torch.from_numpy(self._atlas.mean_image()))
        codes = torch.stack([self._code(one) for one in self._drawn(min(count, 32))])
        return PublicScale(banded(codes - reference), reference.double().numpy(), structure)

    def _drawn(self, count: int) -> Iterator[Gridded]:
        assert self._atlas is not None
        # Another seed than the curriculum's: the network has not been trained on these.
        for image, mask in self._atlas.pairs(count, self._cfg.seed + 1):
            yield Gridded(image, mask)

    def _procedural(self, index: int) -> Tensor:
        stream = self._cfg.seed * 8 + MEASURE_STREAM
        made = random_volume(self._size, self._cfg.data.modality, stream, index)
        return torch.from_numpy(made)

    def _code(self, volume: Gridded) -> Tensor:
        if self._atlas is None:
            return self._encode(torch.from_numpy(np.ascontiguousarray(volume.image)))
        image, _ = self._atlas.to_template(volume)
        # Around the class's own mean: what comes back to it when volumes are drawn.
        own = image - self._atlas.class_contrast(volume.category)
        return self._encode(torch.from_numpy(own))

    @torch.no_grad()
    def _encode(self, image: Tensor) -> Tensor:
        """[*S] to [D]."""
        x = image.float().reshape(1, 1, *self._size).to(self._device)
        mean, _ = self._model.encode(x)
        return coordinates(self._model.canvas(mean))[0].cpu()

    @property
    def _dimension(self) -> int:
        return int(np.prod(self.shape))

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device
