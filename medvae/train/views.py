"""K views of a patient: the patient's volumes, slightly moved and brightened.

Averaging a patient's gradient over views costs no privacy (one clipped gradient a patient
whatever K is; De et al. 2022, augmentation multiplicity).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medvae.grid import Gridded


def views(volumes: list[Gridded], count: int, seed: int) -> Tensor | None:
    """`count` views [K, 1, *S] in [-1, 1] of one patient; None without a volume.

    Args:
        volumes: all of one patient, on one grid.
        count: K.
        seed: secret; the same seed gives the same views.

    Values that are not finite are kept: the engine counts such a patient as zero.
    """
    if not volumes:
        return None
    random = np.random.RandomState(seed % 2**32)
    augmented = [_view(volumes[int(random.randint(len(volumes)))], random) for _ in range(count)]
    return torch.stack(augmented)


def _view(volume: Gridded, random: np.random.RandomState) -> Tensor:
    from monai.transforms import RandAdjustContrast, RandAffine, RandScaleIntensity

    image = torch.from_numpy(np.squeeze(volume.image, axis=_flat(volume))).float()[None]
    dims = image.ndim - 1
    move = RandAffine(
        prob=1.0,
        rotate_range=[0.08] * (3 if dims == 3 else 1),
        translate_range=[2.0] * dims,
        scale_range=[0.04] * dims,
        padding_mode="border",
        cache_grid=False,
    )
    contrast = RandAdjustContrast(prob=0.5, gamma=(0.8, 1.25))
    scale = RandScaleIntensity(factors=0.1, prob=0.5)
    for transform in (move, contrast, scale):
        transform.set_random_state(seed=int(random.randint(2**31 - 1)))
    moved = scale(contrast((move(image) + 1.0) / 2.0)) * 2.0 - 1.0
    return torch.as_tensor(np.asarray(moved)).float().clamp(-1.0, 1.0)


def _flat(volume: Gridded) -> tuple[int, ...]:
    return (2,) if volume.image.shape[2] == 1 else ()
