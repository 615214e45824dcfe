"""Checkpoints as bytes: tensors in safetensors, numbers in its JSON metadata. No pickle."""

from __future__ import annotations

import json
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medvae.errors import IntegrityError


class CheckpointStore(Protocol):
    """Storage of a run's newest state; the API seals it."""

    def load(self) -> bytes | None: ...

    def save(self, data: bytes) -> None: ...


class NullCheckpointStore:
    """A store that keeps nothing, for runs that need not resume."""

    def load(self) -> bytes | None:
        return None

    def save(self, data: bytes) -> None: ...


def pack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """Tensors and JSON facts as one safetensors file."""
    ready = {k: v.detach().cpu().contiguous().clone() for k, v in sorted(tensors.items())}
    return save_tensors(ready, metadata={"facts": json.dumps(facts, sort_keys=True)})


def unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Invert `pack`.

    Raises:
        IntegrityError: the bytes are not a checkpoint.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["facts"])
        return load_tensors(data), dict(facts)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"the run's checkpoint cannot be read: {error}") from error


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix.`."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below `prefix.`, without it."""
    start = f"{prefix}."
    return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an Adam-like optimizer, flat: "index.name" to tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the state of `optimizer_tensors` in an optimizer over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
