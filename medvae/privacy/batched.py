"""Gradients of several patients in one vectorised pass, where that is faster.

One patient's volume usually fills a processor by itself. Where volumes are small, or on a GPU
that one patient does not fill, `torch.func.vmap(grad)` over a chunk of patients is faster; it
computes the same per-patient gradients (to float rounding) and holds one copy of them each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.utils import _pytree

Gradients = Callable[[Sequence[Any]], list[torch.Tensor]]

# A patient that takes this long alone (seconds) fills the processor.
_LONG = 0.25
_CANDIDATES = (4, 16, 64)


class _Bound(nn.Module):
    """A loss as a module, so that `functional_call` can put other weights under it."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, patient: Any) -> torch.Tensor:
        return self._loss(self.model, patient)


def gradients(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], torch.Tensor],
    named: dict[str, nn.Parameter],
    patients: Sequence[Any],
) -> list[torch.Tensor]:
    """Per-patient gradients by vmap.

    Args:
        loss: as in `DPTrainer.step`; it must not branch on values, nor draw random numbers
            from a generator of its own.
        named: trainable parameters by name.
        patients: nested tuples, lists or dicts of tensors, alike in structure and shapes.

    Returns:
        one tensor [len(patients), *shape] a parameter, in the order of `named`.

    Raises:
        RuntimeError: torch cannot vectorise this model or loss.
    """
    bound = _Bound(model, loss)
    stacked = _pytree.tree_map(lambda *leaves: torch.stack(leaves), *patients)

    def objective(weights: dict[str, torch.Tensor], patient: Any) -> torch.Tensor:
        value = functional_call(bound, weights, (patient,))
        return value if isinstance(value, torch.Tensor) else torch.as_tensor(value)

    weights = {f"model.{name}": parameter.detach() for name, parameter in named.items()}
    each = vmap(grad(objective), in_dims=(None, 0), randomness="different")
    gradient = each(weights, stacked)
    return [gradient[f"model.{name}"].detach() for name in named]


def signature(patient: Any) -> object:
    """Equal for patients that can be stacked; None for one that cannot be stacked at all."""
    leaves, structure = _pytree.tree_flatten(patient)
    if not leaves or not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
        return None
    if is_empty(patient):
        return None
    shapes = tuple((leaf.shape, leaf.dtype, leaf.device) for leaf in leaves)
    return (str(structure), shapes)


def is_empty(patient: Any) -> bool:
    """Whether a tensor of the patient has no elements, as when there are no views."""
    leaves = _pytree.tree_leaves(patient)
    return any(isinstance(leaf, torch.Tensor) and leaf.numel() == 0 for leaf in leaves)


def synthetic(patient: Any, seed: int) -> Any:
    """A made-up patient on whom code may be tried: random in [0, 1), integers 0.

    Nothing but shapes, types and devices is read of `patient`.
    """
    generator = torch.Generator().manual_seed(seed)

    def made(leaf: torch.Tensor) -> torch.Tensor:
        if not leaf.is_floating_point():
            return torch.zeros(leaf.shape, dtype=leaf.dtype, device=leaf.device)
        return torch.rand(leaf.shape, generator=generator).to(leaf)

    return _pytree.tree_map(made, patient)


def fastest_chunk(single: Gradients, several: Gradients, patient: Any) -> int:
    """How many patients to take at once, measured on `synthetic` ones of the shape of `patient`.

    So the choice reveals nothing about anyone.
    """
    if signature(patient) is None:
        return 1
    fake = synthetic(patient, 0)
    best, best_time = 1, _seconds(single, [fake])
    if best_time > _LONG:
        return 1
    for size in _CANDIDATES:
        try:
            taken = _seconds(several, [fake] * size) / size
        except (RuntimeError, ValueError):
            break
        if taken > best_time:
            break
        best, best_time = size, taken
    return best


def _seconds(run: Gradients, patients: list[Any]) -> float:
    """Time of the faster of two runs, after one to warm up."""
    results = []
    for _ in range(3):
        began = time.perf_counter()
        gradients = run(patients)
        if gradients and gradients[0].device.type == "cuda":
            torch.cuda.synchronize()
        results.append(time.perf_counter() - began)
        del gradients
    return min(results[1:])
