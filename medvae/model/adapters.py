"""Choice of the parameters that are trained under DP: all, or a few.

The norm of the noise grows with the square root of the number of parameters, and that of the
clipped gradient does not: small cohorts can afford few parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from medvae.errors import UsageError

Choice = Literal["all", "bias", "film", "lora"]

# Parameters at which noise equals signal after 100 steps at epsilon 8, delta 1/(10 N), are
# about CAPACITY * N ** 2 (own arithmetic over 200 <= N <= 5000), and fall about as
# epsilon ** 1.6 below 8.
CAPACITY = 0.035
EXPONENT = 1.6


def parameters_for(model: nn.Module, choice: str) -> list[tuple[str, nn.Parameter]]:
    """The named parameters of a choice.

    all: every one. bias: every bias. film: scale and shift of each normalisation (a
    feature-wise affine modulation). lora: the low-rank updates that `add_lora` made.

    Raises:
        UsageError: an unknown choice, or a model without such parameters.
    """
    norms = {
        f"{name}.{leaf}"
        for name, layer in model.named_modules()
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm)
        for leaf in ("weight", "bias")
    }
    rules: dict[str, Callable[[str], bool]] = {
        "all": lambda name: True,
        "bias": lambda name: name.endswith("bias"),
        "film": lambda name: name in norms,
        "lora": lambda name: ".lora_" in name,
    }
    keep = rules.get(choice)
    if keep is None:
        raise UsageError(f"parameters must be all, bias, film or lora, not {choice!r}")
    parameters = [(name, p) for name, p in model.named_parameters() if keep(name)]
    if not parameters:
        raise UsageError(f"the model has no {choice!r} parameters")
    return parameters


def capacity(patients: int, epsilon: float) -> float:
    """Number of parameters that DP-SGD can train usefully: a public rule in N and epsilon."""
    return float(CAPACITY * patients**2 * min(1.0, epsilon / 8.0) ** EXPONENT)


def choose(model: nn.Module, patients: int, epsilon: float) -> Choice:
    """The largest of film, bias, lora, all whose number of parameters is within `capacity`.

    film, the smallest, if none is.
    """
    limit = capacity(patients, epsilon)
    best: Choice = "film"
    for choice in ("bias", "lora", "all"):
        if count(model, choice) <= limit:
            best = choice
    return best


def count(model: nn.Module, choice: str) -> int:
    """Number of parameters of a choice; for lora, of those that `add_lora` would add."""
    if choice != "lora":
        return sum(p.numel() for _, p in parameters_for(model, choice))
    inner = [p for name, p in model.named_parameters() if ".blocks." in name and p.ndim >= 2]
    return sum(p.shape[0] + p[0].numel() for p in inner)
