"""A perceptual loss for the public stage: slices compared by what an ImageNet network sees.

Off by default: 200 steps from the shipped weights with weight .03 / .3 / 1 brought the Frechet
distance of reconstructions on this very network from 117 to 98 / 86 / 85, but left that on
texture features where it was (.92 to .91 / .92 / .91) and cost .1 / .3 / .35 dB and three times
the time (48 procedural MRI volumes of 32 cubed, one seed).

Distances between unit feature vectors at four depths (Zhang et al. 2018, LPIPS, without its
learned weights), of slices through volume and reconstruction. The network comes with the
extra `metrics`, is never trained, and never meets a patient: private steps have no place for
it, since their guarantee would have to cover its gradients too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medvae.errors import UsageError
from medvae.model import imagenet

# After these blocks the pictures are 1/2, 1/4, 1/8 and 1/16 of their size. Deeper ones name
# objects, which a slice of tissue does not show.
_DEPTHS = (0, 2, 4, 10)
# Slices along each axis, and the size that they are brought to: as `medvae evaluate` sees them.
_SLICES, _EDGE = 2, 96


class Perceptual:
    """Called in each step: gives the network's penalty. Keeps no state.

    Args:
        weight: of the penalty.
        seed: of which slices are looked at; a pure function of it and the step.
        device: where the volumes are.

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
                wanted = self._features(_pictures(x.float(), places))
            found = self._features(_pictures(restored.float(), places))
            apart = [(a - b).square().sum(dim=1).mean() for a, b in zip(wanted, found, strict=True)]
        return self._weight * torch.stack(apart).mean()

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """Unit vectors [B, channels, h, w] at each depth."""
        net = self._net
        h = net._swish(net._bn0(net._conv_stem(pictures)))
        found = []
        for depth, block in enumerate(net._blocks[: _DEPTHS[-1] + 1]):
            h = block(h)
            if depth in _DEPTHS:
                found.append(F.normalize(h, dim=1))
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Nothing: there is no state."""
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
