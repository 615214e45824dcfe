"""Whether a gradient may be recorded once and replayed: what it computes must depend on the
patient's tensors and the weights alone.

A CUDA graph replays kernels with the addresses and numbers of the recording. A value that Python
drew, read back from the device or took from a hook would stay as it was for the recording's
patient, so such a gradient is never recorded. What is drawn from the device's default generator
is drawn afresh at each replay, as it would be without one.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_DEPENDENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_PARAMETER_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def hooked(model: nn.Module) -> str | None:
    """Why the hooks of `model` forbid a recording: a replay would not call them; None if none."""
    for name in _HOOKS:
        if getattr(torch_module, f"_global{name}", None):
            return "torch has hooks for all modules"
    for name, layer in model.named_modules():
        if any(getattr(layer, hooks) for hooks in _HOOKS):
            return f"layer {name or type(layer).__name__} has a hook"
    for name, parameter in model.named_parameters():
        if any(getattr(parameter, hooks, None) for hooks in _PARAMETER_HOOKS):
            return f"parameter {name} has a hook"
    return None


def examine(run: Callable[[], object], device: torch.device) -> str | None:
    """Run once and say why a recording on `device` could differ; None if nothing was seen.

    Global random states are as before afterwards.
    """
    watch = _Watch(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), watch:
        run()
    return watch.reason


def same_function(loss: object, other: object) -> bool:
    """Whether two losses are one: the same object, or one `lambda` made twice over equal names.

    Names count as equal if they stand for the same objects.
    """
    if loss is other:
        return True
    if not isinstance(loss, types.FunctionType) or not isinstance(other, types.FunctionType):
        # Bound methods are made whenever they are named; they are equal by what they bind.
        return isinstance(loss, types.MethodType) and loss == other
    facts = [
        (
            f.__code__,
            *(_held(cell) for cell in f.__closure__ or ()),
            *(id(default) for default in f.__defaults__ or ()),
            *((name, id(default)) for name, default in (f.__kwdefaults__ or {}).items()),
        )
        for f in (loss, other)
    ]
    return loss.__globals__ is other.__globals__ and facts[0] == facts[1]


def _held(cell: types.CellType) -> int | None:
    try:
        return id(cell.cell_contents)
    except ValueError:  # nothing in it yet
        return None


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the first operation that a recording could not repeat."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device
        self.reason: str | None = None

    def __torch_dispatch__(
        self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.reason is None:
            self.reason = self._objection(func, args, kwargs, result)
        return result

    def _objection(self, func: Any, args: Any, kwargs: Any, result: object) -> str | None:
        name = func._schema.name.removeprefix("aten::")
        if any(isinstance(value, torch.Generator) for value in (*args, *kwargs.values())):
            return f"it draws from a generator of its own ({name})"
        # Indexing has a shape that depends on values where the index is a mask, and only there.
        fixed = name == "index" and not any(_is_mask(index) for index in args[1])
        if not fixed and _DEPENDENT & set(func.tags):
            return f"it reads values back from the device ({name})"
        tensors = [
            leaf
            for leaf in _pytree.tree_leaves((args, kwargs, result))
            if isinstance(leaf, torch.Tensor) and (leaf.dim() or "copy" in name)
        ]
        if any(tensor.device != self._device for tensor in tensors):
            return f"it computes on another device than the model's ({name})"
        return None


def _is_mask(index: torch.Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)
