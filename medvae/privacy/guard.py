"""Refuse models whose outputs for one patient depend on another, or that learn off the books."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase, _NormBase
from torch.nn.parameter import is_lazy

from medvae.errors import UsageError

_GROUPNORM = "use torch.nn.GroupNorm instead"


def check(model: nn.Module) -> None:
    """Raise UsageError, naming the layer and a replacement, if DP-SGD would not cover `model`.

    | layer | why | instead |
    |---|---|---|
    | BatchNorm, SyncBatchNorm, any state | mixes patients; statistics move un-noised | GroupNorm |
    | InstanceNorm with running statistics | statistics move un-noised | track_running_stats=False |
    | EMA codebooks (MONAI `VQVAE`) | the codebook moves un-noised | AutoencoderKL |
    | spectral norm, other known moving buffers | move un-noised | weight norm, or freeze |
    | two parameters over one memory | noised twice, moved twice | share the Parameter itself |
    | lazy or half-precision parameters | unknown, or too coarse to clip | build, keep float32 |
    | Opacus wrappers | gradients would be taken twice | hand over the plain model |

    The same Parameter used by several layers is fine: its gradient is the sum. Constant buffers
    are fine too; one that moves during training is caught by the trainer (`Buffers`).
    """
    for name, layer in model.named_modules():
        _check_layer(name or type(model).__name__, layer)
    _check_parameters(model)


def _check_layer(name: str, layer: nn.Module) -> None:
    kind = type(layer).__name__
    if isinstance(layer, _BatchNorm) or "BatchNorm" in kind:
        raise UsageError(f"layer {name} ({kind}) mixes patients of a batch: {_GROUPNORM}")
    if isinstance(layer, _NormBase | _LazyNormBase) and layer.track_running_stats:
        raise UsageError(
            f"layer {name} ({kind}) keeps running statistics that no noise covers: build it with"
            " track_running_stats=False"
        )
    own = {key for key, value in layer._buffers.items() if value is not None}
    if any("ema" in key.split("_") for key in own) or "EMAQuantizer" in kind:
        raise UsageError(
            f"layer {name} ({kind}) learns a codebook by moving averages that no noise covers:"
            " use a KL autoencoder (monai AutoencoderKL) instead"
        )
    moving = own & {"running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v"}
    if moving or kind == "_SpectralNorm":
        raise UsageError(
            f"layer {name} ({kind}) changes its buffers during training and no noise covers that:"
            " freeze it, or use weight normalisation"
        )
    if kind.startswith("GradSampleModule"):
        raise UsageError(f"layer {name} is wrapped by Opacus already: hand over the plain model")


def _check_parameters(model: nn.Module) -> None:
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise UsageError(f"parameter {name} has no shape yet: run the model once before")
        if not parameter.requires_grad:
            continue
        if parameter.dtype not in (torch.float32, torch.float64):
            raise UsageError(
                f"parameter {name} is {parameter.dtype}: keep weights in float32 and ask for"
                " precision 'bf16' instead"
            )
        memory = parameter.untyped_storage().data_ptr()
        if memory and memory in owners:
            raise UsageError(
                f"parameters {owners[memory]} and {name} lie over the same memory: share one"
                " Parameter between the layers, or copy it"
            )
        owners[memory] = name


class Buffers:
    """Watches that no buffer of a model moves: what moves without noise is not private."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._seen = dict(self._state())

    def check(self) -> None:
        """UsageError naming the first buffer that was changed or replaced since the start."""
        for name, mark in self._state():
            if self._seen.get(name) != mark:
                raise UsageError(
                    f"buffer {name} changed during training and no noise covers that: make it a"
                    " constant, or a parameter"
                )

    def _state(self) -> Iterable[tuple[str, tuple[int, int]]]:
        for name, buffer in self._model.named_buffers():
            yield name, (id(buffer), buffer._version)
