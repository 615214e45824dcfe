"""Feature vector of a volume: its latent, pooled over space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from medvae.grid import to_grid
from medvae.model.artifact import Artifact, load_model
from medvae.model.base import VAE
from medvae.volume import Volume


class Extractor:
    """Vectors of a model's network, all of one length and one order.

    Raises:
        UsageError: the model holds statistics and no network.
    """

    def __init__(self, artifact: Artifact, device: str = "cpu") -> None:
        self._model: VAE = load_model(artifact).to(device)
        self._data = artifact.config().data
        self._device = device

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features: mean_0 ... mean_L-1, sd_0 ... sd_L-1, of the L latent channels."""
        latents = range(self._model.latent_channels)
        return tuple(f"{kind}_{channel}" for kind in ("mean", "sd") for channel in latents)

    def vector(self, volume: Volume) -> npt.NDArray[np.float32]:
        """[2 L]: mean and standard deviation over space of each channel of the posterior mean.

        The volume is resampled to the model's grid first, as for training, so that vectors of scans
        of different sizes are comparable. As sensitive as the volume.

        Raises:
            InputError: the volume does not go on the grid (see `to_grid`).
        """
        image = to_grid(volume, self._data).image
        channels = torch.from_numpy(image).expand(self._model.channels, *image.shape[-3:])
        planar = channels[..., 0] if self._model.dims == 2 else channels
        with torch.no_grad():
            code = self._model.encode(planar[None].to(self._device))[0][0].flatten(1).double()
        pooled = torch.cat([code.mean(1), code.std(1, correction=0)])
        return pooled.float().cpu().numpy()
