"""The public stage: training on procedural volumes only, which costs no privacy."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.model import AnatomyModel
from medvae.config import RunConfig
from medvae.model import Artifact, build
from medvae.model.artifact import FORMAT, model_facts
from medvae.model.base import VAE
from medvae.model.procedural import batch
from medvae.model.weights import shipped
from medvae.progress import SILENT, Progress
from medvae.train import anatomy as anatomy_stage
from medvae.train.loop import Penalties, Penalty, Schedule, train_freely
from medvae.train.perceptual import Perceptual
from medvae.train.state import CheckpointStore, NullCheckpointStore

# Streams of procedural volumes: constants are never measured on training volumes.
TRAIN_STREAM, MEASURE_STREAM = 1, 2
LARGEST_CROP = 48


def pretrain(
    cfg: RunConfig,
    *,
    device: str = "cpu",
    checkpoint: CheckpointStore | None = None,
    progress: Progress = SILENT,
    channels: int = 1,
    anatomy: CohortAnatomy | None = None,
) -> Artifact:
    """Train on procedural volumes from the shipped weights or from scratch.

    Resumable: the same configuration ends in the same weights, interrupted or not.

    Args:
        cfg: of which the sections data, model and pretrain are used.
        device: "cpu" or "cuda".
        checkpoint: store of the run's state.
        progress: gets the loss.
        channels: of a volume.
        anatomy: a library entry; the model then draws its people, without numbers of patients.

    Returns:
        An artifact of kind "public".

    Raises:
        UsageError: the grid does not fit the model, or a loss needs what is not installed.
    """
    model = start(cfg, channels).to(device)
    schedule = Schedule(
        cfg.pretrain.steps, cfg.pretrain.learning_rate, cfg.seed, bf16=wants_bf16(cfg)
    )
    crop = crop_size(cfg)

    def batches(step: int) -> Tensor:
        count = cfg.pretrain.batch * channels
        values = batch(crop, cfg.data.modality, cfg.seed * 8 + TRAIN_STREAM, step * count, count)
        return torch.from_numpy(values).view(-1, channels, *crop).to(device)

    train_freely(
        model,
        batches,
        schedule,
        stage="public stage",
        progress=progress,
        store=checkpoint or NullCheckpointStore(),
        penalty=_penalties(cfg, model),
    )
    artifact = public_artifact(cfg, model)
    if anatomy is None:
        return artifact
    people = AnatomyModel(anatomy, anatomy.numbers)
    facts = artifact.facts | {"anatomy": anatomy_stage.provenance(anatomy)}
    return Artifact(artifact.tensors | anatomy_stage.tensors(people), facts)


def _penalties(cfg: RunConfig, model: VAE) -> Penalty | None:
    """Configured terms of the loss in this stage; None without any."""
    stage = cfg.pretrain
    parts: dict[str, Penalty] = {}
    if stage.adversarial > 0:
        from medvae.train.adversarial import Adversary

        rate = stage.learning_rate / 2
        parts["adversarial"] = Adversary(model, stage.adversarial, rate, cfg.seed)
    if stage.perceptual > 0:
        device = next(model.parameters()).device
        parts["perceptual"] = Perceptual(stage.perceptual, cfg.seed, device)
    return Penalties(parts) if parts else None


def start(cfg: RunConfig, channels: int = 1) -> VAE:
    """The network before the public stage: shipped weights if they fit, else fresh ones."""
    dims = dims_of(cfg)
    model = build(
        cfg.model,
        channels,
        dims=dims,
        latent_noise=cfg.pretrain.latent_noise,
        kl_weight=cfg.pretrain.kl_weight,
        seed=cfg.seed,
    )
    model.latent_shape(grid_size(cfg))
    if not (cfg.pretrain.init == "shipped" and shipped.load_into(model, cfg.model)):
        measure_scale(model, crop_size(cfg), cfg)
    return model


def measure_scale(model: VAE, size: tuple[int, ...], cfg: RunConfig) -> None:
    """Set the std of latents to 1 on procedural volumes: a public constant."""
    from medvae.model.conv import LinearPathVAE

    if not isinstance(model, LinearPathVAE):
        return
    values = batch(size, cfg.data.modality, cfg.seed * 8 + MEASURE_STREAM, 0, 32)
    with torch.no_grad():
        model.latent_scale.fill_(1.0)
        volumes = torch.from_numpy(values).expand(-1, model.channels, *[-1] * model.dims)
        model.latent_scale.copy_(model.encode(volumes)[0].std())


def public_artifact(cfg: RunConfig, model: VAE) -> Artifact:
    """A network that saw no patient, as an artifact."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "kind": "public",
        "private": False,
        "epsilon": 0.0,
        "delta": 0.0,
        "config": cfg.public(),
        "model": model_facts(cfg.model, model),
        "plan": None,
    }
    return Artifact({f"model.{k}": v.cpu() for k, v in model.state_dict().items()}, facts)


def dims_of(cfg: RunConfig) -> int:
    """2 for a grid of one slice, else 3."""
    return 2 if cfg.data.size[2] == 1 else 3


def grid_size(cfg: RunConfig) -> tuple[int, ...]:
    """Spatial sizes of the network's input."""
    return cfg.data.size[: dims_of(cfg)]


def crop_size(cfg: RunConfig) -> tuple[int, ...]:
    """Size of crops in the public stage: the grid, at most `LARGEST_CROP` along each axis."""
    return tuple(min(n, LARGEST_CROP) for n in grid_size(cfg))


def measure_count(size: tuple[int, ...]) -> int:
    """Number of procedural volumes for public constants: about 3 million voxels."""
    return int(min(64, max(8, 3_000_000 // math.prod(size))))


def wants_bf16(cfg: RunConfig) -> bool:
    """Whether to use bfloat16: if configured, or if the processor multiplies it natively."""
    if cfg.compute.precision != "auto":
        return cfg.compute.precision == "bf16"
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
