"""How well a model's code and back keeps real volumes: PSNR, SSIM and MS-SSIM on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medvae.evaluate.reconstruction import Array, ReconstructionMetrics, reconstruction_metrics

if TYPE_CHECKING:
    from medvae.model import VAE, Artifact

# More volumes than this add little, and large ones take seconds each.
MOST_VOLUMES = 32


def restoration(
    artifact: Artifact, images: Sequence[Array], what: str = "volumes"
) -> dict[str, dict[str, Any]]:
    """Means over up to `MOST_VOLUMES` real images [X, Y, Z] in [-1, 1], spread over the set.

    ms_ssim is left out where volumes are too small for two scales.

    what: they are, in words.
    """
    from medvae.model import load_model

    model = load_model(artifact)
    numbers = np.unique(np.linspace(0, len(images) - 1, MOST_VOLUMES).astype(int))
    metrics = [_restored(model, images[i]) for i in numbers]
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
