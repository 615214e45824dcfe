"""A perceptual loss for the public stage: distances between features of an ImageNet network.

Off by default: 200 steps from the shipped weights with weight .03 / .3 / 1 brought the Frechet
distance of reconstructions, on the same network, from 117 to 98 / 86 / 85. The distance on texture
features did not change (.92 to .91 / .92 / .91), and it cost .1 / .3 / .35 dB and three times
the time (48 procedural MRI volumes of 32 cubed, one seed).

Distances between unit feature vectors at four depths (Zhang et al. 2018, LPIPS, without its
learned weights), of slices through volume and reconstruction. The network comes with the
extra `metrics` and is never trained. It is never used on patients: the guarantee of private steps
would have to cover its gradients too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medvae.errors import UsageError
from medvae.model import imagenet

# After these blocks the pictures are 1/2, 1/4, 1/8 and 1/16 of their size. Deeper features are of
# objects, which a slice of tissue does not show.
_DEPTHS = (0, 2, 4, 10)
# Slices along each axis, and the size that they are resampled to, as in `medvae evaluate`.
_SLICES, _EDGE = 2, 96


class Perceptual:
    """Penalty without a state.

    Args:
        weight: of the penalty.
        seed: of the choice of slices, a function of it and the step.
        device: of the volumes.

    Raises:
        UsageError: the extra `metrics` is not installed.
    """

    def __init__(self, weight: float, seed: int, device: torch.device) -> None:
        if not imagenet.available():
            raise UsageError(
                "pretrain.perceptual needs an ImageNet network, which is not installed: "
                f"{imagenet.INSTALL}, or set it to 0"
            )
        self._net = imagenet.load().to(device)
        self._weight = weight
        self._seed = seed

    def __call__(self, x: Tensor, restored: Tensor, step: int) -> Tensor:
        """The scalar to add to the network's loss."""
        generator = torch.Generator().manual_seed((self._seed << 32) + step)
        places = torch.rand(_SLICES, generator=generator).tolist()
        with torch.autocast(x.device.type, enabled=False):
            with torch.no_grad():
                target = self._features(_pictures(x.float(), places))
            features = self._features(_pictures(restored.float(), places))
            pairs = zip(target, features, strict=True)
            distances = [(a - b).square().sum(dim=1).mean() for a, b in pairs]
        return self._weight * torch.stack(distances).mean()

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """Unit vectors [B, channels, h, w] at each depth."""
        net = self._net
        h = net._swish(net._bn0(net._conv_stem(pictures)))
        features = []
        for depth, block in enumerate(net._blocks[: _DEPTHS[-1] + 1]):
            h = block(h)
            if depth in _DEPTHS:
                features.append(F.normalize(h, dim=1))
        return features

    def tensors(self) -> dict[str, Tensor]:
        """Empty: there is no state."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to restore."""


def _pictures(x: Tensor, places: list[float]) -> Tensor:
    """Slices of volumes [B, C, *S] at these parts of each axis; an image [B, C, H, W] whole."""
    if x.ndim == 4:
        slices = [x]
    else:
        slices = [
            x.select(axis, round(place * (x.shape[axis] - 1)))
            for axis in range(2, x.ndim)
            for place in places
        ]
    grey = [
        F.interpolate((s.flatten(0, 1)[:, None] + 1) / 2, (_EDGE, _EDGE), mode="bilinear")
        for s in slices
    ]
    return imagenet.as_pictures(torch.cat(grey))
