"""Weights in few bytes: bfloat16, 8 bits with a step, and only those that are not zero.

A weight NAME [out, ...] is stored as one of
  NAME                      as it is, or in bfloat16;
  NAME:int8, NAME:step      whole numbers, and for each of `out` rows what one of them is worth;
and, where weights were pruned, with these two beside it
  NAME:kept                 a bit a weight, eight a byte: whether it is there at all;
  NAME:shape                its shape; then NAME:values (or NAME:int8) holds only those kept.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from medvae.errors import IntegrityError

Form = Literal["bf16", "int8"]
FORMS: tuple[str, ...] = get_args(Form)


def pack(name: str, value: Tensor, form: Form, prune: float = 0.0) -> dict[str, Tensor]:
    """A weight [out, ...] in a smaller form.

    int8: each row in multiples of a 127th of its largest weight. prune: this part of the
    weights, the smallest ones, is dropped; in [0, 1).
    """
    if form == "bf16":
        numbers = {"": value.bfloat16()}
    else:
        whole, step = _eight_bits(value)
        numbers = {":int8": whole, ":step": step}
    if prune > 0:
        numbers = _sparse(numbers, _largest(value, prune))
    return {f"{name}{suffix}": tensor for suffix, tensor in numbers.items()}


def _eight_bits(value: Tensor) -> tuple[Tensor, Tensor]:
    rows = value.float().flatten(1) if value.ndim > 1 else value.float()[:, None]
    step = rows.abs().amax(dim=1).clamp_min(1e-12) / 127.0
    return (rows / step[:, None]).round().to(torch.int8).view_as(value), step


def _largest(value: Tensor, prune: float) -> Tensor:
    """Which weights stay, bool of the weight's shape; ties are broken by their place."""
    dropped = torch.argsort(value.abs().flatten(), stable=True)[: int(prune * value.numel())]
    stays = torch.ones(value.numel(), dtype=torch.bool)
    stays[dropped] = False
    return stays.view_as(value)


def _sparse(numbers: dict[str, Tensor], stays: Tensor) -> dict[str, Tensor]:
    packed = {}
    for suffix, tensor in numbers.items():
        if suffix == ":step":
            packed[suffix] = tensor
        else:
            packed[suffix or ":values"] = tensor[stays]
    packed[":kept"] = torch.from_numpy(np.packbits(stays.flatten().numpy()))
    packed[":shape"] = torch.tensor(stays.shape, dtype=torch.int64)
    return packed


def unpack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their names, as numbers again; what was not packed is left as it is.

    Raises:
        IntegrityError: a part of a weight is missing, unknown, or of another size.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        base, _, form = name.partition(":")
        parts.setdefault(base, {})[form] = value
    return {name: _whole(name, forms) for name, forms in parts.items()}


def _whole(name: str, forms: dict[str, Tensor]) -> Tensor:
    if set(forms) == {""}:
        return forms[""]
    sparse = {"kept", "shape"} <= set(forms)
    numbers = set(forms) - ({"kept", "shape"} if sparse else set())
    if numbers not in ({"int8", "step"}, {"values"} if sparse else {"int8", "step"}):
        raise IntegrityError(f"weight {name} does not consist of {', '.join(sorted(forms))}")
    value = (forms["int8"] if "int8" in forms else forms["values"]).float()
    if sparse:
        value = _dense(name, value, forms["kept"], forms["shape"])
    if "step" in forms:
        step = forms["step"]
        if step.shape != value.shape[:1]:
            raise IntegrityError(f"weight {name} lacks the step of its 8-bit numbers")
        value = value * step.view(-1, *[1] * (value.ndim - 1))
    return value


def _dense(name: str, values: Tensor, packed: Tensor, shape: Tensor) -> Tensor:
    size = [int(n) for n in shape.flatten()]
    count = math.prod(size)
    # The bits are compared before anything of this size is made: a file cannot ask for more
    # memory than it is long.
    if min(size, default=0) < 1 or packed.dtype != torch.uint8 or packed.numel() != -(-count // 8):
        raise IntegrityError(f"weight {name} has bits for another shape than {tuple(size)}")
    bits = np.unpackbits(packed.numpy(), count=count).astype(bool)
    if int(bits.sum()) != values.numel():
        raise IntegrityError(
            f"weight {name} holds {values.numel()} numbers, its bits say otherwise"
        )
    dense = torch.zeros(count)
    dense[torch.from_numpy(bits)] = values.flatten()
    return dense.view(size)
