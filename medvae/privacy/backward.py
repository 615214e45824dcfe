"""Per-patient gradients by one backward pass each, or by one vectorised pass over several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from medvae.errors import UsageError
from medvae.privacy import batched
from medvae.privacy.arguments import check_scalar
from medvae.privacy.convolution import LeanConvolutions

Loss = Callable[[nn.Module, Any], torch.Tensor]


class Backward:
    """Gradients of the trained parameters, in the optimizer's order."""

    def __init__(self, names: Sequence[str], precision: str, device: torch.device) -> None:
        """
        Args:
            names: the trained parameters.
            precision: "fp32" or "bf16", of forward and backward.
            device: where the model is.
        """
        self._names = names
        self._half = precision == "bf16"
        self._device = device

    def one(self, model: nn.Module, patient: Any, loss: Loss) -> list[torch.Tensor] | None:
        """Gradients [1, *shape] of one patient; None if there is nothing to learn from.

        Args:
            model: the trainer's, or a replica of it.

        Raises:
            UsageError: a loss that is no scalar, or that no trained parameter reaches.
        """
        parameters = list(self._trained(model).values())
        for parameter in parameters:
            parameter.grad = None
        if patient is None or batched.is_empty(patient):
            return None
        # Also around backward: activation checkpointing runs the forward pass again there.
        with torch.enable_grad(), self._convolutions():
            with self._autocast():
                value = loss(model, patient)
            check_scalar(value)
            if not value.requires_grad:
                if bool(value.isfinite()):
                    raise UsageError("the loss does not depend on any trainable parameter")
                return None
            value.backward()  # type: ignore[no-untyped-call]
        gradients = []
        for parameter in parameters:
            gradient = parameter.grad
            parameter.grad = None
            gradient = torch.zeros_like(parameter) if gradient is None else gradient
            gradients.append(gradient[None])
        return gradients

    def several(self, model: nn.Module, patients: Sequence[Any], loss: Loss) -> list[torch.Tensor]:
        """Gradients [B, *shape] of patients that are alike in shape (see `batched`)."""
        with self._autocast():
            return batched.gradients(model, loss, self._trained(model), patients)

    def _trained(self, model: nn.Module) -> dict[str, nn.Parameter]:
        named = dict(model.named_parameters())
        return {name: named[name] for name in self._names}

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half)

    def _convolutions(self) -> AbstractContextManager[Any]:
        return LeanConvolutions() if self._device.type == "cpu" else nullcontext()
