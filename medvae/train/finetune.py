"""DP-SGD on patients: one clipped gradient each, few parameters, all constants public."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.model import VAE, parameters_for
from medvae.model.adapters import choose
from medvae.model.lora import add_lora, merge_lora
from medvae.model.procedural import batch
from medvae.privacy import Mechanism, NoiseSource, PoissonSampler
from medvae.progress import Progress
from medvae.threads import one_torch_thread
from medvae.train.public import MEASURE_STREAM, crop_size
from medvae.train.state import CheckpointStore, pack, unpack
from medvae.train.views import views

if TYPE_CHECKING:
    from medvae.privacy import DPTrainer

STAGE = "finetune"
Volumes = Callable[[int], list[Gridded]]


def finetune(
    model: VAE,
    volumes: Volumes,
    cfg: RunConfig,
    mechanism: Mechanism,
    *,
    patients: int,
    key: bytes,
    noise: NoiseSource,
    store: CheckpointStore,
    progress: Progress,
) -> None:
    """Train in place by `mechanism`; resumes from the store's state, bit by bit.

    Formal guarantee: that of `DPTrainer`: the weights after all steps are an output of
    `mechanism`. Clip norm, divisor, choice of parameters and steps depend on public
    numbers alone; no loss is reported.

    Args:
        model: afterwards frozen, with the moving average of its weights.
        volumes: patient index to all of the patient's volumes.
        cfg: the run.
        mechanism: from the plan.
        patients: the public number N.
        key: 32 bytes, for sampling.
        noise: the run's source.
        store: of the run's state.
        progress: gets steps only.
    """
    # Here: what only takes a stage's name from this module does not wait for Opacus.
    from medvae.privacy import DPTrainer

    names = select(model, cfg, patients)
    saved = store.load()
    tensors, facts = unpack(saved) if saved is not None else ({}, {})
    # Stored with the first checkpoint: on another machine its last bits could differ.
    scale = facts["gradient_scale"] if saved is not None else gradient_scale(model, cfg)
    sampler = PoissonSampler(key, patients, mechanism.sample_rate, f"{STAGE} patients")
    trainer = DPTrainer(
        model,
        torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=cfg.finetune.learning_rate,
            weight_decay=0.0,
        ),
        mechanism=mechanism,
        clip=cfg.finetune.clip * scale,
        clipping=cfg.finetune.clipping,
        divisor=max(1.0, mechanism.sample_rate * patients),
        noise=noise,
        precision=cfg.compute.precision,
        chunk=cfg.compute.chunk,
        ema=cfg.finetune.ema,
    )
    facts = {"stage": STAGE, "gradient_scale": scale}
    if saved is None:
        store.save(pack(trainer.state_dict(), facts))
    else:
        trainer.load_state_dict(tensors)
    progress.start("DP-SGD", mechanism.steps)
    for step in range(trainer.steps_done, mechanism.steps):
        batch_of = trainer.mine(sampler.batch(step))
        trainer.step(step, _items(batch_of, volumes, cfg, noise, step, model), _loss)
        progress.advance(step + 1, f"{len(names)} tensors{_plainly(trainer)}")
        if (step + 1) % cfg.compute.checkpoint_every == 0:
            store.save(pack(trainer.state_dict(), facts))
    model.load_state_dict(trainer.weights(), strict=False)
    merge_lora(model)
    model.requires_grad_(False)
    progress.finish()


def select(model: VAE, cfg: RunConfig, patients: int) -> list[str]:
    """Names of the trained parameters, and freeze all others; auto is `adapters.choose`."""
    choice = cfg.finetune.parameters
    share = cfg.privacy.epsilon * cfg.finetune.share**0.5
    kind = choose(model, patients, share) if choice == "auto" else choice
    if kind == "lora":
        add_lora(model, seed=cfg.seed)
    picked = parameters_for(model, kind)
    model.requires_grad_(False)
    for _, parameter in picked:
        parameter.requires_grad_(True)
    return [name for name, _ in picked]


def gradient_scale(model: VAE, cfg: RunConfig) -> float:
    """Median norm of a procedural volume's gradient, the unit of the clip norm; public."""
    trained = [p for p in model.parameters() if p.requires_grad]
    values = batch(crop_size(cfg), cfg.data.modality, cfg.seed * 8 + MEASURE_STREAM, 64, 9)
    x = torch.from_numpy(values).expand(-1, model.channels, *[-1] * model.dims)
    norms = []
    with one_torch_thread():
        for volume in x.to(trained[0].device):
            loss = model.loss(volume[None]).sum()
            gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            square = sum(float(g.square().sum()) for g in gradients if g is not None)
            norms.append(square**0.5)
    return float(torch.tensor(norms).median().clamp_min(1e-6))


def _plainly(trainer: DPTrainer) -> str:
    """Why a GPU is used at less than its speed; a fact of the network, not of the patients."""
    return "" if trainer.plainly is None else f", not replayed as a graph: {trainer.plainly}"


def _items(
    indices: Any,
    volumes: Volumes,
    cfg: RunConfig,
    noise: NoiseSource,
    step: int,
    model: VAE,
) -> Iterator[tuple[Tensor, Tensor] | None]:
    """Views and latent noise of each sampled patient, one patient in memory at a time."""
    device = next(model.parameters()).device
    for index in indices:
        generator = noise.generator(stream=f"{STAGE} views", step=step, index=index)
        seed = int(torch.randint(2**62, (), generator=generator))
        x = views(volumes(index), cfg.finetune.views, seed)
        if x is None:
            yield None
            continue
        x = x.expand(-1, model.channels, *[-1] * model.dims)
        shape = (len(x), *model.latent_shape(tuple(x.shape[2:])))
        yield x.to(device), torch.randn(shape, generator=generator).to(device)


def _loss(model: nn.Module, item: tuple[Tensor, Tensor]) -> Tensor:
    assert isinstance(model, VAE)
    return model.loss(*item).mean()
