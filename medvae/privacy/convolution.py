"""3-D convolutions for a batch of one patient on a CPU, at the speed of a large batch.

For one small volume in float32, torch leaves oneDNN and unfolds the activations: 27 times their
memory for a 3x3x3 kernel (`ConvParams::use_mkldnn` in ATen's Convolution.cpp asks for a batch
above one, or for more than 20,480 elements in the first four dimensions). Measured on one core,
32 channels at 24 cubed: 28 ms forward and 65 ms backward unfolded, 4 and 8 ms in oneDNN. Values
agree to float rounding.

Channels-last layout was measured as well. In float32 it loses. In bfloat16 convolutions gain a
quarter, but torch's GroupNorm then takes 50 ms backward instead of 0.6 (16 channels at 48 cubed);
with a GroupNorm of our own a step gained 8%, which did not pay for the code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Up to here, torch chooses the unfolding kernel for a batch of one.
_ONEDNN_ELEMENTS = 20480

_CONV3D = (torch.conv3d, torch.nn.functional.conv3d)


class LeanConvolutions(TorchFunctionMode):
    """Inside this context a small `conv3d` on a CPU stays in oneDNN; all else is untouched.

    It must also be active during backward, because activation checkpointing runs the forward
    pass again there. Differentiable any number of times.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _CONV3D:
            return _conv3d(func, *args, **kwargs)
        return func(*args, **kwargs)


def _conv3d(
    func: Callable[..., Any],
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Any:
    if not _fits(input, weight, padding, groups):
        return func(input, weight, bias, stride, padding, dilation, groups)
    return _OneDnn.apply(  # type: ignore[no-untyped-call]
        input, weight, bias, _triple(stride), _triple(padding), _triple(dilation), groups
    )


def _fits(x: torch.Tensor, weight: torch.Tensor, padding: object, groups: int) -> bool:
    """Whether torch would unfold this one, and oneDNN can take it."""
    return (
        x.dim() == 5
        and x.shape[0] == 1
        and groups == 1
        and 0 < x.shape[:4].numel() <= _ONEDNN_ELEMENTS
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and not isinstance(padding, str)
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def _triple(value: Any) -> list[int]:
    values = [value] * 3 if isinstance(value, int) else list(value)
    return values * 3 if len(values) == 1 else values


class _OneDnn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, dilation, False, [0, 0, 0], groups)
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        mask = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.bias_sizes is not None]
        # A second derivative is asked for: the plain operator knows how to give it.
        if not torch.is_grad_enabled():
            # A tensor in oneDNN's own layout cannot be sent to the unfolding kernel.
            gradient, x = gradient.to_mkldnn(), x.to_mkldnn()
        parts = torch.ops.aten.convolution_backward(
            gradient, x, weight, ctx.bias_sizes, *ctx.geometry, mask
        )
        dense = [
            tensor.to_dense() if tensor is not None and tensor.is_mkldnn else tensor
            for tensor in parts
        ]
        return (*dense, None, None, None, None)
