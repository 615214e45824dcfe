"""Latent coordinates of patients; in the template's frame if there is an atlas."""

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

# Size of the cache of coordinates between the passes of the prior, in bytes.
CACHE_BYTES = 1 << 30


class Codes:
    """Coordinates [volumes, D] of a patient, by index; private, and discarded with the object."""

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
            self.shape = tuple(model.spatial_latent(empty.to(self._device)).shape[1:])
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    def __call__(self, index: int) -> Tensor:
        if index in self._cache:
            return self._cache[index]
        rows = [self._code(volume) for volume in self._volumes(index)]
        # A patient without volumes counts as zero: the mechanism drops vectors with NaN.
        coordinates = torch.stack(rows) if rows else torch.full((1, self._dimension), torch.nan)
        size = coordinates.numel() * 4
        if self._cached_bytes + size <= CACHE_BYTES:
            self._cache[index] = coordinates
            self._cached_bytes += size
        return coordinates

    def public(self) -> PublicScale:
        """Expected scale of coordinates, from atlas samples or, without one, procedural volumes."""
        count = measure_count(self._size)
        images = (self._procedural(i) for i in range(count))
        structure = banded(torch.stack([self._encode(image) for image in images]))
        if self._atlas is None:
            return PublicScale(structure, np.zeros(self._dimension), structure)
        reference = self._encode(torch.from_numpy(self._atlas.mean_image()))
        codes = torch.stack([self._code(sample) for sample in self._atlas_samples(min(count, 32))])
        return PublicScale(banded(codes - reference), reference.double().numpy(), structure)

    def _atlas_samples(self, count: int) -> Iterator[Gridded]:
        assert self._atlas is not None
        # Another seed than that of training: the network has not seen these samples.
        for image, mask in self._atlas.pairs(count, self._cfg.seed + 1):
            yield Gridded(image, mask)

    def _procedural(self, index: int) -> Tensor:
        stream = self._cfg.seed * 8 + MEASURE_STREAM
        volume = random_volume(self._size, self._cfg.data.modality, stream, index)
        return torch.from_numpy(volume)

    def _code(self, volume: Gridded) -> Tensor:
        if self._atlas is None:
            return self._encode(torch.from_numpy(np.ascontiguousarray(volume.image)))
        image, _ = self._atlas.to_template(volume)
        # Relative to the class's mean, which sampling adds again.
        residual = image - self._atlas.class_contrast(volume.category)
        return self._encode(torch.from_numpy(residual))

    @torch.no_grad()
    def _encode(self, image: Tensor) -> Tensor:
        """Coordinates [D] of an image [*S]."""
        x = image.float().reshape(1, 1, *self._size).to(self._device)
        mean, _ = self._model.encode(x)
        return coordinates(self._model.spatial_latent(mean))[0].cpu()

    @property
    def _dimension(self) -> int:
        return int(np.prod(self.shape))

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device
