"""Drawing volumes: the part of the time outside of networks and warps, memory, repeatability.

Method. A small model is trained on made-up patients (32 x 48 x 32, two labels). Every call of
the networks (encode, decode) and of what deforms (`warp`, borders that are turned, the synthesis of
a field) is timed from within; the rest of a draw is what lies outside. One thread, medians over
draws. Memory is the peak of a process of its own for each n, so that nothing else is in it (on
CUDA that of the host). With --device cuda the networks run there, and each call is waited for.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy import ndimage

from medvae.atlas import Atlas, boundary_orientation
from medvae.atlas import atlas as drawing
from medvae.atlas.basis import Basis
from medvae.config import RunConfig
from medvae.generate import generate
from medvae.grid import Gridded
from medvae.model import VAE, Artifact, load_model
from medvae.privacy import StageRequest, make_plan
from medvae.train import stage_requests, train

SIZE = (32, 48, 32)
FEW, MANY = 4, 40
OUTSIDE, GROWTH = 0.10, 1.05
# A process that draws n volumes and tells its peak in KiB.
PEAK = """
import resource, sys
from pathlib import Path
import torch
from medvae.generate import generate
from medvae.model import Artifact
torch.set_num_threads(1)
artifact = Artifact.from_bytes(Path(sys.argv[1]).read_bytes())
for volume in generate(artifact, int(sys.argv[2]), seed=0, device=sys.argv[3]):
    del volume
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class Patients:
    """Two touching ellipsoids, bright and dark, moved and stretched from one to the next."""

    def __init__(self, count: int) -> None:
        self.subjects = [f"S{index}" for index in range(count)]

    def __len__(self) -> int:
        return len(self.subjects)

    def volumes(self, index: int) -> list[Gridded]:
        random = np.random.default_rng(index)
        place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
        stretch = np.exp(random.normal(0, 0.08, 3))
        x, y, z = ((p - random.normal(0, 0.08)) / s for p, s in zip(place, stretch, strict=True))
        front = (x / 0.4) ** 2 + ((y - 0.3) / 0.3) ** 2 + (z / 0.4) ** 2 < 1
        back = (x / 0.4) ** 2 + ((y + 0.3) / 0.35) ** 2 + (z / 0.35) ** 2 < 1
        mask = np.where(front, 1, np.where(back, 2, 0)).astype(np.uint8)
        image = ndimage.gaussian_filter(np.choose(mask, [-0.4, 0.6, -0.9]) + 0.2 * z, 0.6)
        image += random.normal(0, 0.05, SIZE)
        return [Gridded(np.clip(image, -1, 1).astype(np.float32), mask)]


def model(patients: int, preset: str, kind: str) -> Artifact:
    """The whole pipeline, with as little training as there can be: its time is not drawing's.

    kind: of the latent prior.
    """
    raw = {
        "data": {"size": SIZE, "labels": 2},
        "model": {"preset": preset},
        "privacy": {"epsilon": 20.0},
        "pretrain": {"steps": 0, "init": None},
        "atlas": {"share": 0.6, "samples": 0, "steps": 0},
        "finetune": {"share": 0.0, "steps": 0},
        "prior": {"share": 0.4, "kind": kind},
    }
    cfg = RunConfig.model_validate(raw)
    plan = make_plan(
        [StageRequest(*one) for one in stage_requests(cfg, patients)],
        patients=patients,
        epsilon=cfg.privacy.epsilon,
    )
    return train(cfg, plan, Patients(patients), key=bytes(32))


class Clock:
    """Seconds within the calls that are watched; calls within such a call are not told twice.

    settle: waits until what a call has begun is done.
    """

    def __init__(self, settle: Callable[[], object] = lambda: None) -> None:
        self.seconds = 0.0
        self._inside = False
        self._settle = settle

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            if self._inside:
                return function(*args, **options)
            self._inside, start = True, time.perf_counter()
            try:
                found = function(*args, **options)
                self._settle()
                return found
            finally:
                self.seconds += time.perf_counter() - start
                self._inside = False

        return timed

    @contextmanager
    def watching(self, network: type[VAE]) -> Iterator[None]:
        """Networks and warps by this clock."""
        with (
            mock.patch.object(network, "encode", self.watch(network.encode)),
            mock.patch.object(network, "decode", self.watch(network.decode)),
            mock.patch.object(drawing, "warp", self.watch(drawing.warp)),
            mock.patch.object(
                boundary_orientation, "interpolate", self.watch(boundary_orientation.interpolate)
            ),
            mock.patch.object(Basis, "synthesise", self.watch(Basis.synthesise)),
        ):
            yield


def outside(draw: Callable[[], object], times: int, network: type[VAE]) -> dict[str, float]:
    """Medians over draws: milliseconds of one, those outside, and their part."""
    clock = Clock(torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None)
    rows = []
    with clock.watching(network):
        draw()
        for _ in range(times):
            clock.seconds, start = 0.0, time.perf_counter()
            draw()
            whole = time.perf_counter() - start
            rows.append((1e3 * whole, 1e3 * (whole - clock.seconds), 1 - clock.seconds / whole))
    found = np.median(rows, axis=0)
    return dict(zip(("ms", "ms_outside", "part_outside"), map(float, found), strict=True))


def peak(path: Path, n: int, device: str) -> float:
    """MiB of a process that draws n volumes."""
    command = [sys.executable, "-c", PEAK, str(path), str(n), device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def repeats(artifact: Artifact, n: int, device: str) -> float:
    """Part of the voxels that are the same when the same seed is drawn from again."""
    first, second = (
        [v.voxels for v in generate(artifact, n, seed=3, device=device)] for _ in range(2)
    )
    return float((np.stack(first) == np.stack(second)).mean())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only this benchmark has."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the networks")


def main(quick: bool, device: str = "cpu") -> dict[str, Any]:
    """machine, results and targets."""
    torch.set_num_threads(1)
    patients, preset, times = (4, "tiny", 8) if quick else (6, "small", 20)
    few, many = (2, 8) if quick else (FEW, MANY)
    artifact, added = (model(patients, preset, kind) for kind in ("structure", "atlas"))
    network = type(load_model(artifact))
    atlas = Atlas.from_tensors({k: v.numpy() for k, v in artifact.part("atlas").items()})
    drawn, moved = (generate(one, 10**6, seed=1, device=device) for one in (artifact, added))
    random = np.random.default_rng(0)
    results: dict[str, Any] = {
        "atlas": outside(lambda: atlas.sample(random), times, network),
        "pipeline": outside(lambda: next(drawn), times, network),
        "pipeline, on atlas": outside(lambda: next(moved), times, network),
        "repeated": repeats(artifact, few, device),
    }
    with tempfile.TemporaryDirectory(prefix="medvae-bench-") as folder:
        path = Path(folder) / "model"
        path.write_bytes(artifact.to_bytes())
        memory = {n: peak(path, n, device) for n in (few, many)}
    results["peak_mib"] = {str(n): value for n, value in memory.items()}
    for name, value in results.items():
        print(f"{name:18} {value}")
    growth = memory[many] / memory[few]
    targets = [
        (f"{name}: part of the time outside", results[name]["part_outside"], f"<= {OUTSIDE}")
        for name in ("atlas", "pipeline", "pipeline, on atlas")
    ]
    met = [value <= OUTSIDE for _, value, _ in targets]
    targets.append((f"peak memory, n = {many} over n = {few}", growth, f"<= {GROWTH}"))
    targets.append(("same voxels by the same seed", results["repeated"], ">= 1"))
    met += [growth <= GROWTH, results["repeated"] >= 1]
    return {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "networks on": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        },
        "results": results,
        "targets": [
            {"name": name, "value": value, "target": target, "met": bool(good)}
            for (name, value, target), good in zip(targets, met, strict=True)
        ],
    }
