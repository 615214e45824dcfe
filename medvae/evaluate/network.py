"""The extractor `efficientnet-lite0`: ImageNet features of slices, when its packages are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae.evaluate.pictures import channels_of, is_picture

if TYPE_CHECKING:
    import torch

NAME = "efficientnet-lite0 (ImageNet, pooled, 1280)"
# Fifteen slices a volume, each brought to EDGE x EDGE: the policy is part of the figure.
SLICES = "5 slices a plane at 30 to 70% of its extent, three planes, mean over a plane"
_PLACES = (0.3, 0.4, 0.5, 0.6, 0.7)
_EDGE = 96


def available() -> bool:
    """Whether the extra `metrics` is installed."""
    from medvae.model import imagenet

    return imagenet.available()


class Network:
    """`features(image)` -> [3, 1280]: one vector a plane; [1, 1280] of a picture."""

    def __init__(self) -> None:
        import torch

        from medvae.model import imagenet

        # Channels last in memory: its convolutions take two thirds of the time.
        self._model = imagenet.load().to(memory_format=torch.channels_last)

    def features(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Features of an image [X, Y, Z] in [-1, 1], or of a picture [C, X, Y, 1].

        The network sees three channels as colours, and the mean of any other number of them.
        """
        import torch

        if is_picture(image):
            with torch.no_grad():
                activations = self._model.extract_features(_picture(image)).mean(dim=(2, 3))
            return np.asarray(activations.double().numpy())
        image = np.mean(channels_of(image), axis=0)
        with torch.no_grad():
            maps = self._model.extract_features(_slices(image))
        pooled = maps.mean(dim=(2, 3)).reshape(3, len(_PLACES), -1).mean(dim=1)
        return np.asarray(pooled.double().numpy())


def _picture(image: npt.NDArray[np.float32]) -> torch.Tensor:
    """[1, 3, EDGE, EDGE] of a picture, in its colours where it has three."""
    import torch
    from torch.nn.functional import interpolate

    from medvae.model.imagenet import as_pictures

    channels = np.stack(channels_of(image))[..., 0]
    if len(channels) != 3:
        channels = channels.mean(axis=0, keepdims=True)
    scaled = torch.from_numpy(np.ascontiguousarray((channels + 1) / 2))[None]
    resized = interpolate(scaled, (_EDGE, _EDGE), mode="bilinear", antialias=True)
    return _channels_last(as_pictures(resized))


def _channels_last(pictures: torch.Tensor) -> torch.Tensor:
    import torch

    return pictures.contiguous(memory_format=torch.channels_last)


def _slices(image: npt.NDArray[np.float32]) -> torch.Tensor:
    """[15, 3, EDGE, EDGE], as the network was trained to see them."""
    import torch
    from torch.nn.functional import interpolate

    from medvae.model.imagenet import as_pictures

    pictures = []
    for axis in range(3):
        for place in _PLACES:
            index = round(place * (image.shape[axis] - 1))
            picture = torch.from_numpy(np.take(image, index, axis=axis).copy())
            grey = ((picture + 1) / 2)[None, None]
            pictures.append(interpolate(grey, (_EDGE, _EDGE), mode="bilinear", antialias=True))
    return _channels_last(as_pictures(torch.cat(pictures)))
