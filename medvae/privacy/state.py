"""A trainer's state as a flat mapping of tensors, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.privacy.engine import DPTrainer


def dump_state(trainer: DPTrainer) -> dict[str, torch.Tensor]:
    """Parameters, moving average, optimizer state, step and identity of a trainer; all copies."""
    state = {
        "trainer/step": torch.tensor([trainer.steps_done], dtype=torch.int64),
        "trainer/chunk": torch.tensor([trainer.chunk], dtype=torch.int64),
        "trainer/identity": torch.tensor(list(trainer._identity), dtype=torch.uint8),
    }
    inner = trainer._optimizer.original_optimizer
    for name, parameter in zip(trainer._names, trainer._parameters, strict=True):
        state[f"weight/{name}"] = parameter.detach().clone()
        for key, value in inner.state.get(parameter, {}).items():
            if value is None:
                continue
            kind = "tensor" if isinstance(value, torch.Tensor) else "number"
            state[f"{kind}/{name}/{key}"] = _as_tensor(f"{name}/{key}", value)
    for name, average in zip(trainer._names, trainer._average, strict=False):
        state[f"average/{name}"] = average.clone()
    return state


def load_state(trainer: DPTrainer, state: dict[str, torch.Tensor]) -> None:
    """Put a dumped state into `trainer`; UsageError, and no change, if it is of another run."""
    identity = state.get("trainer/identity")
    if identity is None or bytes(identity.tolist()) != trainer._identity:
        raise UsageError(
            "the checkpoint is of another plan, model or optimizer; resume with"
            " the configuration that the run was begun with"
        )
    inner = trainer._optimizer.original_optimizer
    expected = {f"weight/{name}": tensor.shape for name, tensor in _named(trainer)}
    averaged = zip(trainer._names, trainer._average, strict=False)
    expected |= {f"average/{name}": tensor.shape for name, tensor in averaged}
    expected |= dict.fromkeys(("trainer/step", "trainer/chunk"), torch.Size([1]))
    for key, shape in expected.items():
        if key not in state or state[key].shape != shape:
            raise UsageError(f"the checkpoint has no {key} of shape {tuple(shape)}")
    trainer._optimizer.forget()
    trainer._torn = True  # until all of it is in place
    inner.state.clear()
    with torch.no_grad():
        for name, parameter in _named(trainer):
            parameter.copy_(state[f"weight/{name}"])
            restored = _restore(state, name, parameter)
            if restored:
                inner.state[parameter] = restored
        for name, average in zip(trainer._names, trainer._average, strict=False):
            average.copy_(state[f"average/{name}"])
    trainer.steps_done = int(state["trainer/step"])
    trainer.chunk = int(state["trainer/chunk"])
    trainer._agreed = trainer._torn = False


def _named(trainer: DPTrainer) -> list[tuple[str, torch.nn.Parameter]]:
    return list(zip(trainer._names, trainer._parameters, strict=True))


def _as_tensor(name: str, value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, int | float):
        return torch.tensor([value], dtype=torch.float64)
    raise UsageError(f"the optimizer keeps {name} as {type(value).__name__}: use SGD or AdamW")


def _restore(
    state: dict[str, torch.Tensor], name: str, parameter: torch.nn.Parameter
) -> dict[str, Any]:
    restored: dict[str, Any] = {}
    for kind in ("tensor", "number"):
        prefix = f"{kind}/{name}/"
        for key, value in state.items():
            if not key.startswith(prefix) or "/" in key[len(prefix) :]:
                continue
            leaf = key[len(prefix) :]
            if kind == "number":
                restored[leaf] = value.item()
            else:
                device = parameter.device if value.shape == parameter.shape else value.device
                restored[leaf] = value.to(device, copy=True)
    return restored
