"""The training loop for data that cost no privacy: procedural volumes, atlas samples.

Not for patients: gradients are neither clipped per sample nor noised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from medvae.errors import IntegrityError, MedvaeError
from medvae.model.base import VAE
from medvae.progress import Progress
from medvae.train.optimizer import Momentum
from medvae.train.state import (
    CheckpointStore,
    optimizer_tensors,
    pack,
    prefixed,
    restore_optimizer,
    under,
    unpack,
)

WARM_UP = 100


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a training.

    Attributes:
        steps: gradient steps.
        learning_rate: its maximum, after a warm-up over `WARM_UP` steps (a tenth of a short run),
            then half a cosine. Above 1e-3 at the start, networks stay at the linear solution.
        seed: of the latent noise.
        save_every: steps between checkpoints.
        bf16: matrix work under bfloat16 autocast.
    """

    steps: int
    learning_rate: float
    seed: int
    save_every: int = 100
    bf16: bool = False

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warm = min(WARM_UP, max(1, self.steps // 10))
        fade = 0.5 + 0.5 * math.cos(math.pi * step / max(1, self.steps))
        return self.learning_rate * min(1.0, (step + 1) / warm) * fade


Batches = Callable[[int], Tensor]


class Penalty(Protocol):
    """A term of the loss, with a state of its own."""

    def __call__(self, x: Tensor, restored: Tensor, step: int, /) -> Tensor: ...

    def tensors(self) -> dict[str, Tensor]: ...

    def restore(self, tensors: dict[str, Tensor]) -> None: ...


class Penalties:
    """The sum of several penalties, whose states are stored by name."""

    def __init__(self, parts: dict[str, Penalty]) -> None:
        self._parts = parts

    def __call__(self, x: Tensor, restored: Tensor, step: int) -> Tensor:
        """Their sum."""
        terms = [penalty(x, restored, step) for penalty in self._parts.values()]
        return torch.stack(terms).sum()

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for name, penalty in self._parts.items():
            tensors |= prefixed(name, penalty.tensors())
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state of `tensors`."""
        for name, penalty in self._parts.items():
            penalty.restore(under(name, tensors))


def train_freely(
    model: VAE,
    batches: Batches,
    schedule: Schedule,
    *,
    stage: str,
    progress: Progress,
    store: CheckpointStore,
    penalty: Penalty | None = None,
) -> None:
    """Train in place; resumes from the store's checkpoint, to the same weights bit by bit.

    Args:
        model: parameters that require gradients are trained.
        batches: step to volumes [B, C, *S]; a pure function of the step.
        schedule: constants of the run.
        stage: name of the progress and of the checkpoint.
        progress: gets the running loss, which is of public data.
        store: of the checkpoint.
        penalty: added to the loss (see `medvae.train.adversarial` and `perceptual`).

    Raises:
        IntegrityError: the checkpoint belongs to another stage.
        MedvaeError: the loss is no longer finite.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = Momentum(model, schedule.learning_rate)
    first = _resume(model, optimizer, store, stage, penalty)
    running = 0.0
    model.train()
    progress.start(stage, schedule.steps)
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = _loss(model, batches(step), schedule, step, penalty)
        if not torch.isfinite(loss):
            raise MedvaeError(f"{stage}: the loss at step {step} is not finite; lower the rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        running = loss.item() if step == first else 0.95 * running + 0.05 * loss.item()
        progress.advance(step + 1, f"loss {running:.4f}")
        if (step + 1) % schedule.save_every == 0 and step + 1 < schedule.steps:
            _save(model, optimizer, store, stage, step + 1, penalty)
    model.eval()
    progress.finish(f"loss {running:.4f}")


def _loss(model: VAE, x: Tensor, schedule: Schedule, step: int, penalty: Penalty | None) -> Tensor:
    generator = torch.Generator().manual_seed((schedule.seed << 32) + step)
    shape = (len(x), *model.latent_shape(tuple(x.shape[2:])))
    noise = torch.randn(shape, generator=generator)
    # From no noise to the full posterior's: the decoder is trained on clean and noisy latents.
    level = torch.rand([len(x)] + [1] * (noise.ndim - 1), generator=generator)
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=schedule.bf16):
        loss, restored = model.losses(x, (noise * level).to(x.device))
        if penalty is not None:
            return loss.mean() + penalty(x, restored, step)
        return loss.mean()


def _save(
    model: VAE,
    optimizer: torch.optim.Optimizer,
    store: CheckpointStore,
    stage: str,
    step: int,
    penalty: Penalty | None,
) -> None:
    tensors = prefixed("model", model.state_dict())
    tensors |= prefixed("optimizer", optimizer_tensors(optimizer))
    if penalty is not None:
        tensors |= prefixed("penalty", penalty.tensors())
    store.save(pack(tensors, {"stage": stage, "step": step}))


def _resume(
    model: VAE,
    optimizer: torch.optim.Optimizer,
    store: CheckpointStore,
    stage: str,
    penalty: Penalty | None,
) -> int:
    data = store.load()
    if data is None:
        return 0
    tensors, facts = unpack(data)
    if facts.get("stage") != stage:
        raise IntegrityError(f"the checkpoint is of stage {facts.get('stage')!r}, not {stage!r}")
    model.load_state_dict(under("model", tensors))
    restore_optimizer(optimizer, under("optimizer", tensors))
    if penalty is not None:
        penalty.restore(under("penalty", tensors))
    return int(facts["step"])
