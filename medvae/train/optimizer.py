"""Orthogonalised momentum for inner convolutions, Adam elsewhere; for stages without patients.

A convolution's update is replaced by the nearest matrix with all singular values 1 (Jordan
et al. 2024, Muon), found by a Newton-Schulz iteration, so that rare directions move as
fast as frequent ones. On the residual networks, 300 steps reach a lower loss than 600 of Adam
alone. Not for private steps, for which `medvae.privacy` supports Adam only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
# An orthogonal update of rate 1 would change every output by about its own size.
INNER = 10.0


class Momentum(torch.optim.Optimizer):
    """Orthogonalised momentum for parameters of two or more axes, Adam for the others.

    Args:
        model: whose parameters that require gradients are trained.
        lr: Adam's rate; the rate of inner convolutions is `INNER` times it.
    """

    def __init__(self, model: nn.Module, lr: float) -> None:
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        inner = [p for n, p in named if p.ndim >= 2 and ".blocks." in n]
        inner_ids = {id(p) for p in inner}
        outer = [p for _, p in named if id(p) not in inner_ids]
        groups: list[dict[str, Any]] = [
            {"params": inner, "inner": True},
            {"params": outer, "inner": False},
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step for all parameters that have a gradient; `closure` is not supported."""
        assert closure is None
        for group in self.param_groups:
            for parameter in _with_gradient(group["params"]):
                state = self.state[parameter]
                if group["inner"]:
                    self._inner(parameter, state, group["lr"] * INNER)
                else:
                    self._adam(parameter, state, group["lr"])

    def _inner(self, parameter: Tensor, state: dict[str, Tensor], rate: float) -> None:
        assert parameter.grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
        ahead = parameter.grad + MOMENTUM * state["momentum"]
        parameter.add_(orthogonal(ahead.flatten(1)).view_as(parameter), alpha=-rate)

    def _adam(self, parameter: Tensor, state: dict[str, Tensor], rate: float) -> None:
        assert parameter.grad is not None
        if not state:
            state["count"] = torch.zeros(())
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
        state["count"] += 1
        state["first"].lerp_(parameter.grad, 1 - BETAS[0])
        state["second"].lerp_(parameter.grad.square(), 1 - BETAS[1])
        count = int(state["count"])
        scale = math.sqrt(1 - BETAS[1] ** count) / (1 - BETAS[0] ** count)
        parameter.addcdiv_(state["first"], state["second"].sqrt() + 1e-8, value=-rate * scale)


def orthogonal(matrix: Tensor, iterations: int = 6) -> Tensor:
    """[m, n] a matrix with the same row and column spaces, and singular values of about 1.

    Quintic Newton-Schulz steps raise small singular values quickly; the last, cubic steps bring all
    of them close to 1.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    for number in range(iterations):
        gram = x @ x.T
        if number < iterations - 2:
            x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
        else:
            x = 1.5 * x - 0.5 * gram @ x
    x = x.T if tall else x
    result: Tensor = x * math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
    return result


def _with_gradient(parameters: Iterable[Any]) -> Iterable[Any]:
    return (p for p in parameters if p.grad is not None)
