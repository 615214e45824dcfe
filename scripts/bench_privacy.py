"""The privacy engine beside non-private training and Opacus: time, memory, noise.

Every way of training runs in processes of its own, in turns, so that a busy machine disturbs all
alike; the fastest step counts. Memory is what training adds to a process that has its libraries,
its network and its data (peak resident size; on CUDA, peak allocated). The engine tells the C
library to keep freed memory; "memory kept" is the non-private batch with the same done for it.
The bench writes bench-out/privacy.png.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pages
from privacy_chart import of, plot, table

HERE = Path(__file__).parent
OUT = HERE.parent / "bench-out"
WAYS = (
    "non-private batch",
    "non-private, memory kept",
    "non-private accumulation",
    "engine fp32",
    "engine bf16",
    "engine automatic",
    "engine kernel by kernel",
    "opacus hooks",
    "opacus functorch",
    "opacus ghost",
)

# Ways that differ from another one on a GPU only.
ON_GPU = {"engine kernel by kernel"}

# Measured growth of the hungriest way, MiB a voxel of one volume: larger runs are not begun.
HUNGER = {"opacus hooks": 0.03, "opacus ghost": 0.03, "opacus functorch": 0.015}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only this benchmark has."""
    parser.add_argument("--device", choices=("cpu", "cuda"), help="only there (default: all)")
    parser.add_argument(
        "--only", choices=("steps", "noise", "statistics", "attack"), help="one part of it"
    )
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks/recentring.md")


def main(
    quick: bool, device: str | None = None, only: str | None = None, docs: bool = False
) -> dict[str, Any]:
    """machine, results and targets; a table on stdout and a plot in bench-out/."""
    parts: dict[str, Any] = {}
    goals: list[dict[str, Any]] = []
    if only in (None, "steps"):
        parts["steps"] = steps(quick, device)
        goals += targets(parts["steps"])
    if only in (None, "noise"):
        parts |= {"noise_a_second": noise_rate(), "one_shot_seconds": one_shot_seconds()}
        goals += noise_targets(parts)
        print(f"noise: {parts['noise_a_second'] / 1e6:.1f} million discrete Gaussians a second;")
        print(f"a one-shot mechanism of 10,000 numbers takes {parts['one_shot_seconds']:.3f} s")
    if only in (None, "statistics"):
        parts["statistics"] = statistics(docs)
    if only in (None, "attack"):
        parts["attack"] = attack(20 if quick else 200)
        found = parts["attack"]
        goals.append(
            {
                "name": "mu found by the end-to-end attack",
                "value": found["mu_found"],
                "target": f"interval not above {found['mu_claimed']:.3f}",
                "met": found["passed"],
            }
        )
    return {"machine": machine(), "results": parts, "targets": goals}


def steps(quick: bool, device: str | None) -> list[dict[str, Any]]:
    """Time and memory of a step, by every way of training; with a table and a plot."""
    results: list[dict[str, Any]] = []
    for place in [device] if device else devices():
        for size in (32,) if quick else (32, 48, 96):
            results += measure(place, size, rounds=1 if quick else 2)
    table(results)
    plot(results, OUT / "privacy.png")
    return results


def statistics(docs: bool) -> list[dict[str, Any]]:
    """Error of released statistics before and after re-centring; none without the real scans."""
    import privacy_statistics

    folder = os.environ.get("MEDVAE_REAL_DATA")
    if folder is None:
        print("statistics: not run, MEDVAE_REAL_DATA names no folder of real scans")
        return []
    rows = privacy_statistics.rows(Path(folder))
    page = privacy_statistics.markdown(rows)
    print(page)
    if docs:
        place = HERE.parent / "docs" / "benchmarks" / "recentring.md"
        place.parent.mkdir(exist_ok=True)
        place.write_text(page)
    return rows


def attack(runs: int) -> dict[str, Any]:
    """The end-to-end attack on whole trainings."""
    import privacy_endtoend

    def told(done: int, total: int) -> None:
        print(f"end-to-end attack: training {done} of {total}", file=sys.stderr, flush=True)

    found = privacy_endtoend.attack(runs, report=told)
    low, high = found["mu_interval"]
    print(
        f"end-to-end attack, {runs} trainings: mu {found['mu_found']:.2f} ({low:.2f} to {high:.2f},"
        f" 99.99%) of {found['mu_claimed']:.2f} claimed; epsilon at least"
        f" {found['epsilon_at_least']:.2f}; {'passed' if found['passed'] else 'NOT PASSED'}"
    )
    return found


def one_shot_seconds() -> float:
    """A one-shot mechanism of 10,000 numbers over 100 patients, the best of five."""
    import numpy as np

    from medvae.privacy import Mechanism, NoiseSource, gaussian_release

    vectors, best = np.random.default_rng(0).random((100, 10_000)), float("inf")
    for step in range(5):
        began = time.perf_counter()
        gaussian_release(
            vectors,
            clip=1.0,
            mechanism=Mechanism("bench", 1.0, 5, 1.0),
            divisor=100.0,
            noise=NoiseSource(bytes(32)),
            dimension=10_000,
            step=step,
        )
        best = min(best, time.perf_counter() - began)
    return best


def devices() -> list[str]:
    """cpu, and cuda when there; asked of a child, to keep this process small."""
    code = "import torch; print(torch.cuda.is_available())"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return ["cpu", "cuda"] if answer.stdout.strip() == "True" else ["cpu"]


def measure(device: str, size: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each way at this size; the best of `rounds` processes."""
    steps = 1 if size > 64 else 3
    rows: dict[str, dict[str, Any]] = {}
    for _ in range(1 if size > 64 else rounds):
        for way in WAYS:
            if way in ON_GPU and device != "cuda":
                continue
            found = once(way, size, steps, device)
            print(
                f"{size} cubed, {device}, {way}: {json.dumps(found)}", file=sys.stderr, flush=True
            )
            best = rows.setdefault(way, found)
            for key in ("seconds", "processor_seconds", "added_mib", "peak_mib"):
                if key in found and key in best:
                    best[key] = min(best[key], found[key])
    return [{"way": way, "size": size, "device": device} | row for way, row in rows.items()]


def once(way: str, size: int, steps: int, device: str) -> dict[str, Any]:
    """Run one worker; {"not_run": why} when it would not fit or did not get through."""
    needed = HUNGER.get(way, 0.0) * size**3
    if device == "cpu" and needed > 0.8 * available():
        return {"not_run": f"needs about {needed / 1024:.0f} GiB"}
    command = [sys.executable, "-W", "ignore", str(HERE / "bench_privacy_worker.py")]
    command += [way, str(size), str(steps), device]
    # Threads that spin while they wait make every figure depend on what else the machine does.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit {run.returncode}"]
        return {"not_run": lines[-1][:120]}
    found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def available() -> float:
    """Memory that can be had, MiB."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    fields = dict(line.split(":") for line in info.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) / 1024


def noise_rate(count: int = 10_000_000) -> float:
    """Exact discrete Gaussians a second, the best of five."""
    from medvae.privacy import NoiseSource

    source, best = NoiseSource(bytes(32)), float("inf")
    for step in range(5):
        began = time.perf_counter()
        source.discrete_gaussian(count, 1.5 * 2.0**30, stream="bench", step=step)
        best = min(best, time.perf_counter() - began)
    return count / best


def noise_targets(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the exact sampler."""
    rate, seconds = parts["noise_a_second"], parts["one_shot_seconds"]
    return [
        {
            "name": "discrete Gaussians a second",
            "value": rate,
            "target": ">= 2e7",
            "met": rate >= 20e6,
        },
        {
            "name": "seconds for a one-shot mechanism of 10,000 numbers",
            "value": seconds,
            "target": "< 1",
            "met": seconds < 1,
        },
    ]


def targets(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The issue's figures: at 48 cubed (--quick: at what was measured), and CUDA's when there."""
    measured = {row["size"] for row in results}
    size = 48 if 48 in measured else max(measured)
    wanted = [
        ("time / non-private batch", "engine fp32", "non-private batch", "seconds", 1.0),
        ("memory / non-private batch", "engine fp32", "non-private batch", "added_mib", 0.6),
        ("time / Opacus hooks", "engine fp32", "opacus hooks", "seconds", 0.25),
        ("memory / Opacus hooks", "engine fp32", "opacus hooks", "added_mib", 0.25),
        ("time bf16 / fp32", "engine bf16", "engine fp32", "seconds", 0.4),
    ]
    places = {row["device"] for row in results}
    rows = [_target(results, size, "cpu", *one) for one in wanted] if "cpu" in places else []
    if "cuda" in places:
        against = "non-private accumulation"
        rows.append(
            _target(
                results, size, "cuda", f"time / {against}", "engine fp32", against, "seconds", 1.15
            )
        )
        rows.append(
            _target(
                results,
                size,
                "cuda",
                f"memory / {against}",
                "engine fp32",
                against,
                "added_mib",
                1.1,
            )
        )
    return rows


def _target(
    results: list[dict[str, Any]],
    size: int,
    device: str,
    name: str,
    way: str,
    against: str,
    field: str,
    limit: float,
) -> dict[str, Any]:
    ours, theirs = (of(results, one, field, size, device) for one in (way, against))
    ratio = ours / theirs if ours is not None and theirs else None
    return {
        "name": f"{name}, {size} cubed, {device}",
        "value": ratio,
        "target": f"<= {limit:g}",
        "met": ratio is not None and ratio <= limit,
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": pages.system(),
        "load": os.getloadavg()[0],
        "torch": importlib.metadata.version("torch"),
    }
