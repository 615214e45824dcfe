#!/usr/bin/env python3
"""Make the weights that ship with the package, from procedural volumes alone.

    scripts/pretrain_public.py [--preset small] [--steps 6000] [--state FILE]

Seeded: the same steps on the same kind of processor give the same weights, but for rounding.
Writes medvae/model/weights/NAME.safetensors and NAME.json (the recipe and the SHA-256 that
loading checks). With --state, an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from pathlib import Path

import torch

from medvae.config import RunConfig
from medvae.model.artifact import Artifact
from medvae.model.procedural import batch
from medvae.model.weights import shipped
from medvae.train.loop import Schedule, train_freely
from medvae.train.public import measure_scale, public_artifact, start, wants_bf16
from medvae.train.state import CheckpointStore, NullCheckpointStore

STREAM = 1001
# Crops of several shapes, so that the networks lean on no size.
SIZES = {3: ((24, 24, 24), (32, 24, 16), (16, 32, 24), (24, 36, 20)), 2: ((48, 48), (32, 64))}


class FileStore:
    """A checkpoint in a file: nothing here is private."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes | None:
        return self._path.read_bytes() if self._path.exists() else None

    def save(self, data: bytes) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(self._path)


class Log:
    """A line every few steps."""

    def start(self, stage: str, total: int) -> None:
        self._total, self._began = total, time.process_time()

    def advance(self, done: int, note: str = "") -> None:
        if done % 50 == 0 or done == self._total:
            minutes = (time.process_time() - self._began) / 60
            print(f"{done}/{self._total} {note}, {minutes:.1f} processor minutes", flush=True)

    def finish(self, note: str = "") -> None:
        print(note, flush=True)


def configuration(arguments: argparse.Namespace) -> RunConfig:
    """The run as a configuration, so that the artifact states it."""
    size = (32, 32, 32) if arguments.dims == 3 else (64, 64, 1)
    return RunConfig.model_validate(
        {
            "seed": arguments.seed,
            "data": {"size": size},
            "model": {
                "kind": arguments.kind,
                "preset": arguments.preset,
                "latent_channels": arguments.latent_channels,
            },
            "pretrain": {
                "init": None,
                "steps": arguments.steps,
                "batch": arguments.batch,
                "learning_rate": arguments.learning_rate,
            },
        }
    )


def volumes(cfg: RunConfig, dims: int, step: int) -> torch.Tensor:
    """MRI and CT by turns, sizes by turns."""
    sizes = SIZES[dims]
    size = sizes[step // 2 % len(sizes)]
    modality = "ct" if step % 2 else "mri"
    count = cfg.pretrain.batch
    return torch.from_numpy(batch(size, modality, cfg.seed + STREAM, step * count, count))


def write(artifact: Artifact, name: str, recipe: dict[str, object]) -> None:
    """The weights, and beside them how they were made."""
    data = artifact.to_bytes()
    recipe = {**recipe, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (shipped.FOLDER / f"{name}.safetensors").write_bytes(data)
    text = json.dumps(recipe, indent=2, sort_keys=True) + "\n"
    (shipped.FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
    print(name, recipe["sha256"], f"{len(data) / 1e6:.2f} MB")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kind", choices=("conv", "transformer"), default="conv")
    parser.add_argument("--preset", choices=("tiny", "small", "base"), default="small")
    parser.add_argument("--latent-channels", type=int, default=8)
    parser.add_argument("--dims", type=int, choices=(2, 3), default=3)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--state", type=Path, help="where to keep the state, to go on from")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    cfg = configuration(arguments)
    began = time.process_time()
    model = start(cfg)
    measure_scale(model, (32,) * arguments.dims, cfg)
    schedule = Schedule(
        arguments.steps, arguments.learning_rate, arguments.seed, bf16=wants_bf16(cfg)
    )
    store: CheckpointStore = (
        FileStore(arguments.state) if arguments.state else NullCheckpointStore()
    )
    train_freely(
        model,
        lambda step: volumes(cfg, arguments.dims, step),
        schedule,
        stage="public weights",
        progress=Log(),
        store=store,
    )
    recipe = {
        "made_by": "scripts/pretrain_public.py",
        "data": "medvae.model.procedural only: no patient, no template, no download",
        "config": cfg.public(),
        "sizes": SIZES[arguments.dims],
        "stream": arguments.seed + STREAM,
        "processor_minutes": round((time.process_time() - began) / 60, 1),
        "bf16": schedule.bf16,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    write(public_artifact(cfg, model), shipped.name_of(cfg.model, arguments.dims), recipe)


if __name__ == "__main__":
    main()
