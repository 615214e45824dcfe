"""How well a model's code and back keeps real volumes: PSNR, SSIM and MS-SSIM on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medvae.evaluate.pictures import channels_of
from medvae.evaluate.reconstruction import Array, ReconstructionMetrics, reconstruction_metrics

if TYPE_CHECKING:
    from medvae.model import VAE, Artifact

# More volumes than this add little, and large ones take seconds each.
MOST_VOLUMES = 32


def restoration(
    artifact: Artifact, images: Sequence[Array], what: str = "volumes"
) -> dict[str, dict[str, Any]]:
    """Means over up to `MOST_VOLUMES` real images in [-1, 1], spread over the set.

    ms_ssim is left out where volumes are too small for two scales.

    images: [X, Y, Z] of volumes; or [C, X, Y, Z], each channel of as many volumes as give so many.
    what: they are, in words.
    """
    from medvae.model import load_model

    model = load_model(artifact)
    # Volumes are picked, and not their channels in a row: a step of two would pass over the second.
    most = max(1, MOST_VOLUMES // len(channels_of(images[0])))
    numbers = np.unique(np.linspace(0, len(images) - 1, most).astype(int))
    metrics = [_restored(model, channel) for i in numbers for channel in channels_of(images[i])]
    figures: dict[str, dict[str, Any]] = {}
    for name in ("psnr", "ssim", "ms_ssim"):
        values = [getattr(metric, name) for metric in metrics]
        if None not in values:
            figures[f"reconstruction_{name}"] = {
                "value": float(np.mean(values)),
                "task": f"{len(metrics)} real {what}, posterior means, on the model's grid",
            }
    return figures


def _restored(model: VAE, image: Array) -> ReconstructionMetrics:
    import torch

    x = torch.from_numpy(image.reshape(1, 1, *image.shape[: model.dims]))
    with torch.no_grad():
        decoded = model.decode(model.encode(x.expand(-1, model.channels, *x.shape[2:]))[0])[0, 0]
    return reconstruction_metrics(image, decoded.clamp(-1, 1).numpy().reshape(image.shape))
