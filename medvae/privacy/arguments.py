"""What a trainer is built from, checked: each error names the argument and what it must be."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import torch
from torch import nn

from medvae.errors import UsageError
from medvae.privacy.accounting import Mechanism

Precision = Literal["auto", "fp32", "bf16"]


def check_scalar(value: object) -> None:
    """Refuse a loss that is not one number. Raises UsageError."""
    if not isinstance(value, torch.Tensor) or value.dim() != 0:
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise UsageError(
            f"the loss of a patient must be one number (the mean over the views), not {shape}"
        )


def check_chunk(chunk: int) -> int:
    """Patients in one vectorised pass, at least 1; 0: decided by the trainer. Raises UsageError."""
    if type(chunk) is not int or chunk < 0:
        raise UsageError(f"chunk must be 0 (automatic) or more, not {chunk!r}")
    return chunk


def check_ema(ema: float) -> float:
    """Decay of the moving average of the weights, in [0, 1); 0: none. Raises UsageError."""
    if not 0 <= ema < 1:
        raise UsageError(f"ema must be in [0, 1), not {ema!r}")
    return float(ema)


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the optimizer's parameters, in its order."""
    names = {
        id(parameter): name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    handed = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    missing = [
        name for key, name in names.items() if key not in {id(parameter) for parameter in handed}
    ]
    if missing:
        raise UsageError(
            f"parameter {missing[0]} is trainable but not in the optimizer: hand it over, or"
            " freeze it with requires_grad_(False)"
        )
    if not handed or any(id(parameter) not in names for parameter in handed):
        raise UsageError("the optimizer must hold trainable parameters of the model, and no other")
    return [names[id(parameter)] for parameter in handed]


def resolve_precision(precision: Precision, device: torch.device) -> str:
    """ "fp32" or "bf16": what is asked for, or what the device computes natively ("auto").

    Raises:
        UsageError: there is no such precision.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"precision must be 'auto', 'fp32' or 'bf16', not {precision!r}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if device.type == "cpu" and native else "fp32"


def run_identity(
    mechanism: Mechanism,
    clip: float,
    divisor: float,
    clipping: str,
    ema: float,
    names: list[str],
) -> bytes:
    """SHA-256 over everything that a resumed run must share with the one it resumes."""
    facts = [repr(mechanism), clip, divisor, clipping, ema, names]
    return hashlib.sha256(json.dumps(facts).encode()).digest()
