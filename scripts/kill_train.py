"""Kill private training at random moments, resume it, and compare with a run left in peace.

Each training runs in a forked child on real files: a ledger, a sealed-like secret, a checkpoint
after every step. The parent kills it (SIGKILL) again and again until it gets through, then asks
that the weights are equal bit for bit and that the ledger holds one debit. `--through engine`
trains with the engine alone; `--through cli` runs `medvae train` on a vault, every stage of it.

    python scripts/kill_train.py [--kills 50] [--seed 0] [--through engine|cli]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from medvae.privacy import (
    DPTrainer,
    Ledger,
    NoiseSource,
    Plan,
    PoissonSampler,
    StageRequest,
    make_plan,
    run_key,
)

PATIENTS, STEPS = 8, 25


class FileJournal:
    """Records on a file, each with its length and hash; a torn last record never happened."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: bytes, *, expected: int | None = None) -> int | None:
        count = len(self.entries())
        if expected not in (None, count):
            return None
        with self._path.open("ab") as file:
            file.write(len(record).to_bytes(8, "big") + hashlib.sha256(record).digest() + record)
            file.flush()
            os.fsync(file.fileno())
        return count

    def confirm(self) -> None:
        """A record is durable when `append` has written it."""

    def entries(self) -> list[bytes]:
        data = self._path.read_bytes() if self._path.exists() else b""
        found, start = [], 0
        while start + 40 <= len(data):
            size = int.from_bytes(data[start : start + 8], "big")
            record = data[start + 40 : start + 40 + size]
            if hashlib.sha256(record).digest() != data[start + 8 : start + 40]:
                break
            found.append(record)
            start += 40 + size
        if start < len(data):
            os.truncate(self._path, start)
        return found


def write(path: Path, data: bytes) -> None:
    """Durable and whole, or not at all."""
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def train(folder: Path, plan: Plan) -> None:
    """Start or resume the training of `folder`, to the end."""
    mechanism = plan.mechanism("finetune")
    Ledger(FileJournal(folder / "ledger"), 20.0, delta=plan.delta).debit(
        "run", plan, [f"S{index}" for index in range(PATIENTS)], "d@1"
    )
    secret = (folder / "secret").read_bytes()
    keys = {use: run_key(secret, plan.digest(), b"d@1", use) for use in ("noise", "sampling")}
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv3d(4, 1, 1))
    trainer = DPTrainer(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.01),
        mechanism=mechanism,
        clip=0.5,
        divisor=mechanism.sample_rate * PATIENTS,
        noise=NoiseSource(keys["noise"]),
        ema=0.9,
    )
    checkpoint = folder / "checkpoint"
    if checkpoint.exists():
        trainer.load_state_dict(safetensors.torch.load(checkpoint.read_bytes()))
    sampler = PoissonSampler(keys["sampling"], PATIENTS, mechanism.sample_rate, mechanism.name)
    source = NoiseSource(keys["noise"])
    for step in range(trainer.steps_done, STEPS):
        batch = [
            (index, source.generator(stream="views", step=step, index=index))
            for index in sampler.batch(step)
        ]
        trainer.step(step, batch, _loss)
        write(checkpoint, safetensors.torch.save(trainer.state_dict()))
    write(folder / "done", safetensors.torch.save(trainer.weights()))


def _loss(model: nn.Module, patient: tuple[int, torch.Generator]) -> torch.Tensor:
    index, generator = patient
    volume = torch.full((1, 1, 8, 8, 8), float(index)).sin()
    value: torch.Tensor = (
        model(volume + torch.randn(volume.shape, generator=generator)).square().mean()
    )
    return value


def prepare(folder: Path, secret: bytes) -> Path:
    folder.mkdir()
    write(folder / "secret", secret)
    return folder


def in_child(work: Callable[[], None], after: float | None) -> bool:
    """Do `work` in a forked child, killed after so many seconds; whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a child must not return into the parent
            print(f"child failed: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status) != 0:
        raise SystemExit("the training failed by itself")
    return False


def run(kills: int, seed: int) -> dict[str, Any]:
    """Kill trainings until `kills` were killed and all of them got through afterwards."""
    torch.set_num_threads(1)
    chance = random.Random(seed)  # noqa: S311 - moments of killing, not secrets
    plan = make_plan(
        [StageRequest("finetune", 1.0, 0.5, STEPS)], patients=PATIENTS, epsilon=8.0, delta=1e-3
    )
    secret = secrets.token_bytes(32)
    killed = runs = equal = single = 0
    with tempfile.TemporaryDirectory() as root:
        calm = prepare(Path(root) / "calm", secret)
        began = time.perf_counter()
        in_child(lambda: train(calm, plan), None)
        whole = time.perf_counter() - began
        expected = (calm / "done").read_bytes()
        while killed < kills:
            runs += 1
            folder = prepare(Path(root) / f"run{runs}", secret)
            while not (folder / "done").exists():
                last = killed >= kills
                after = None if last else chance.uniform(0, whole)
                killed += in_child(lambda f=folder: train(f, plan), after)
            equal += (folder / "done").read_bytes() == expected
            single += len(FileJournal(folder / "ledger").entries()) == 1
    return {"kills": killed, "runs": runs, "bit_identical": equal, "one_debit": single}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--through", choices=("engine", "cli"), default="engine")
    arguments = parser.parse_args()
    if arguments.through == "cli":
        import kill_train_cli

        result = kill_train_cli.run(arguments.kills, arguments.seed, in_child)
    else:
        result = run(arguments.kills, arguments.seed)
    print(json.dumps(result))
    checks = ("bit_identical", "one_debit", "secret_gone")
    if any(result.get(check, result["runs"]) != result["runs"] for check in checks):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
