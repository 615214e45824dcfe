"""Refuse models whose outputs for one patient depend on another, or that learn off the books."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase, _NormBase
from torch.nn.parameter import is_lazy

from medvae.errors import UsageError

_GROUPNORM = "use torch.nn.GroupNorm instead"
_SHARDED = ("FullyShardedDataParallel", "DeepSpeedEngine")


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
    | DDP, FSDP, sharded parameters | mix patients of ranks before clipping | the plain model |

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
    if isinstance(layer, nn.parallel.DistributedDataParallel) or kind in _SHARDED:
        raise UsageError(
            f"layer {name} ({kind}) averages gradients over ranks, and so over patients, before"
            " they are clipped: hand over the plain model; DPTrainer sums over ranks itself"
        )
    if kind.startswith("GradSampleModule"):
        raise UsageError(f"layer {name} is wrapped by Opacus already: hand over the plain model")


def _check_parameters(model: nn.Module) -> None:
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters():
        if type(parameter.data).__name__ == "DTensor":
            raise UsageError(
                f"parameter {name} is sharded over ranks: hand over the plain model, DPTrainer"
                " adds up over ranks itself"
            )
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


class MutationGuard:
    """Watches tensors that must not move: what moves without noise is not private.

    Buffers are watched from construction on; parameters while the gradients of a step are
    taken, because a layer that sets its weights by what it sees (ActNorm, a teacher that follows
    by moving averages) or a hook that updates in backward would move them off the books. Contents
    count, and not torch's version counter alone: writing through `.data` leaves that as it is.
    """

    def __init__(self, model: nn.Module, *, contents: bool = True) -> None:
        """
        Args:
            model: what is watched.
            contents: False for a replica over the memory of a model that is watched itself.
        """
        self._model = model
        self._contents = contents
        self._buffers = _Snapshot(model.named_buffers(), contents)
        self._parameters = _Snapshot((), contents)

    def begin(self) -> None:
        """Remember the parameters as they are before a step's first patient."""
        self._parameters = _Snapshot(self._model.named_parameters(), self._contents)

    def check(self) -> None:
        """UsageError naming the first buffer or parameter that was changed or replaced."""
        for kind, before, named in (
            ("buffer", self._buffers, self._model.named_buffers()),
            ("parameter", self._parameters, self._model.named_parameters()),
        ):
            name = before.difference(_Snapshot(named, self._contents))
            if name is not None:
                raise UsageError(
                    f"{kind} {name} changed during training and no noise covers that: make it"
                    " a constant, or let the optimizer alone move it"
                )


class _Snapshot:
    """Identity, version and bytes of tensors. The bytes lie in one vector a device, because
    hundreds of small tensors take a GPU longer to start on than to read."""

    def __init__(self, named: Iterable[tuple[str, torch.Tensor]], contents: bool) -> None:
        tensors = dict(named)
        self._marks = {
            name: (id(tensor), tensor._version, tensor.device, tensor.dtype, tensor.shape)
            for name, tensor in tensors.items()
        }
        self._places: dict[torch.device, list[tuple[str, int]]] = {}
        self._bytes: dict[torch.device, torch.Tensor] = {}
        if not contents:
            return
        parts: dict[torch.device, list[torch.Tensor]] = {}
        for name, tensor in tensors.items():
            raw = _raw(tensor)
            parts.setdefault(tensor.device, []).append(raw)
            self._places.setdefault(tensor.device, []).append((name, len(raw)))
        self._bytes = {device: torch.cat(pieces) for device, pieces in parts.items()}

    def difference(self, now: _Snapshot) -> str | None:
        """Name of the first tensor that is another one, or holds other bytes; None if none."""
        for name in now._marks | self._marks:
            if self._marks.get(name) != now._marks.get(name):
                return name
        for device, before in self._bytes.items():
            if torch.equal(before, now._bytes[device]):
                continue
            sizes = [size for _, size in self._places[device]]
            before_parts, now_parts = (
                torch.split(flat, sizes) for flat in (before, now._bytes[device])
            )
            pairs = zip(before_parts, now_parts, strict=True)
            changed = [not torch.equal(*pair) for pair in pairs]
            return self._places[device][changed.index(True)][0]
        return None


def _raw(tensor: torch.Tensor) -> torch.Tensor:
    """uint8 [n]: the bytes of a tensor's elements; equal bytes are equal contents, NaN too."""
    values = tensor.detach()
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values.reshape(-1).contiguous().view(torch.uint8)
